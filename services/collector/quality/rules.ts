/**
 * Why a conversation teaches nothing: one row a reason, looked at in this order. A rule says yes only when it is sure; what is merely mediocre stays.
 */
import { detectLanguage } from "../../../shared/domains/language.ts";
import { wordsOf, type Word } from "../../../shared/domains/words.ts";
import { draftOf, type Draft } from "./draft.ts";
import { mayAskForLanguage, mayLeakSecret } from "./marks.ts";
import { isRepetitive, wordsIn } from "./repetition.ts";
import { asksForLanguage, errorPages, injections, refusals, secretShapes, smallTalk } from "./patterns.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";

export const qualityRules = {
  /** Only an upstream, an import, a person's correction or a person's approval teaches; see "Only good teachers" in the design. */
  not_a_teacher: ({ conversation: { source, feedback } }) => feedback === "rejected" || (feedback !== "approved" && source !== "upstream" && source !== "import" && source !== "correction"),
  not_text: ({ conversation }) => [...conversation.messages, conversation.answer].some(({ content }) => Array.isArray(content) && content.some((part) => part.type !== "text")),
  empty: ({ conversation, prompt, answer }) => prompt.trim() === "" || (answer.trim() === "" && (conversation.answer.tool_calls?.length ?? 0) === 0),
  too_long: ({ length, longest }) => length > longest,
  mojibake: ({ prompt, answer }) => isMojibake(answer) || isMojibake(prompt),
  prompt_injection: ({ incoming, answer, marks }) => injections.some((pattern, at) => ((marks.incoming >> at) & 1 && pattern.test(incoming)) || ((marks.answer >> at) & 1 && pattern.test(answer))),
  error_page: ({ answer }) => answer.length < 1_500 && errorPages.some((pattern) => pattern.test(answer.slice(0, 600).trimStart())) && visibleLength(answer) < 300,
  refusal: ({ answer }) => answer.length < 250 && refusals.some((pattern) => pattern.test(answer)),
  secret_in_answer: ({ conversation, incoming, answer, marks }) => (marks.answer & mayLeakSecret) !== 0 && leaksSecret(answer, incoming + conversation.messages.map(({ content }) => (typeof content === "string" ? content : "")).join("\n")),
  wrong_language: (draft) => draft.conversation.source !== "correction" && isInOtherLanguage(draft),
  repetition: ({ prompt, answer }) => isRepetitive(answer) || isRepetitive(prompt),
  too_short: ({ conversation, prompt, answer }) => (conversation.answer.tool_calls?.length ?? 0) === 0 && saysNothing(prompt, answer),
  truncated: ({ conversation, answer }) => conversation.finishReason === "length" || conversation.finishReason === "content_filter" || isCutOff(answer),
} as const satisfies Record<string, (draft: Draft) => boolean>;

export type QualityReason = keyof typeof qualityRules;

const rules = Object.entries(qualityRules) as [QualityReason, (draft: Draft) => boolean][];

/** The default of MAX_ROW_CHARACTERS: beyond any context of a model that this machine trains. */
export const mostCharacters = 64_000;

/** The first reason against a conversation, or null. @param longest MAX_ROW_CHARACTERS */
export function judge(conversation: Conversation, longest = mostCharacters): QualityReason | null {
  const draft = draftOf(conversation, longest);
  for (const [reason, rule] of rules) if (rule(draft)) return reason;
  return null;
}

function leaksSecret(answer: string, given: string): boolean {
  return (answer.match(secretShapes) ?? []).some((secret) => !given.includes(secret) && !/example|xxxx|\.\.\.|your[-_]/i.test(secret));
}

const enoughWords = 12;

const mostLookedAt = 2_000;

/** Portuguese asked and English answered, or the other way round, and no other language was asked for. */
function isInOtherLanguage({ prompt, answer, promptWords, answerWords, marks }: Draft): boolean {
  const asked: readonly Word[] = prompt.length <= mostLookedAt ? promptWords : wordsOf(prompt.slice(-mostLookedAt));
  if (asked.length < enoughWords || ((marks.prompt & mayAskForLanguage) !== 0 && asksForLanguage.test(prompt))) return false;
  const from = detectLanguage(asked);
  if (from === "unknown") return false;
  const said = answer.length <= mostLookedAt ? answerWords : wordsOf(answer.slice(0, mostLookedAt));
  if (said.length < enoughWords) return false;
  const to = detectLanguage(said);
  return to !== "unknown" && from !== to;
}

/** UTF-8 read as Latin-1 or the like. A few such signs may be what the talk is about; many are damage. */
function isMojibake(text: string): boolean {
  if (!/[\ufffd\u00efÃÂâÐÑ]/.test(text)) return false;
  const lost = text.match(/\ufffd|ï¿½/g)?.length ?? 0;
  const signs = text.match(/[ÃÂ][\u0080-\u00bf]|â[\u0080-\u00bf€]|[ÐÑ][\u0080-\u00bf\u0152-\u0178\u2013-\u203a]/g)?.length ?? 0;
  return (lost >= 2 || signs >= 3) && (lost + signs) * 100 >= text.length * 0.7;
}

/** Words of which one nearly always shows that something was asked. */
const fewWords = 4;

function saysNothing(prompt: string, answer: string): boolean {
  if (isSmallTalk(wordsIn(prompt, fewWords)) && isSmallTalk(wordsIn(prompt))) return true;
  return !/[\p{L}\p{N}\p{S}]/u.test(answer);
}

function isSmallTalk(words: readonly string[]): boolean {
  return words.every((word) => word === words[0]) || words.every((word) => smallTalk.has(word));
}

/** Long prose whose last line stops without an end. Lists, code and addresses may stop anywhere. */
function isCutOff(answer: string): boolean {
  if (answer.length < 80) return false;
  const whole = answer.trimEnd();
  const line = whole.slice(whole.lastIndexOf("\n") + 1).trim();
  if (/^(?:[-*•>|#]|\d+[.)]|```|\S+:\s*$)/.test(line) || inCode(answer)) return false;
  // How it ends is all that the expressions look at.
  if (/[,;]$|\s(?:e|ou|de|da|do|que|para|com|em|um|uma|a|o|the|and|or|of|to|a|an|with|in|for|that)$/iu.test(line.slice(-8))) return true;
  if (line.length < 60 || /[/@]\S*$/.test(line)) return false;
  return !/[.!?:…)\]}"'”’»*_`~\p{S}\p{Extended_Pictographic}]$/u.test(line.slice(-2));
}

const inCode = (answer: string) => answer.includes("```") && answer.trimEnd().endsWith("```");
const visibleLength = (html: string) => html.replace(/<[^>]{0,2000}>/g, "").length;
