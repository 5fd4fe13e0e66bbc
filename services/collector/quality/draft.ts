/** A conversation as the quality rules look at it: its texts, taken out once, and their words, which sorting it will ask for again. */
import { textOf, type Conversation, type Message } from "../../../shared/events/conversation.ts";
import { wordsOfAll, wordsOnce, type Word } from "../../../shared/domains/words.ts";
import { marksOf } from "./marks.ts";

export interface Draft {
  readonly conversation: Conversation;
  /** All that the user said. */
  readonly prompt: string;
  readonly answer: string;
  /** What came from outside and could carry instructions: users and tools. */
  readonly incoming: string;
  readonly promptWords: readonly Word[];
  readonly answerWords: readonly Word[];
  /** Bits of marks.ts: what stands in each of them. */
  readonly marks: { readonly prompt: number; readonly answer: number; readonly incoming: number };
  /** Characters of all messages together. */
  readonly length: number;
  /** MAX_ROW_CHARACTERS */
  readonly longest: number;
}

export function draftOf(conversation: Conversation, longest: number): Draft {
  const asked: string[] = [];
  const incoming: string[] = [];
  let length = 0;
  for (const message of conversation.messages) {
    const text = textOf(message);
    length += lengthOf(message, text);
    if (message.role === "user") asked.push(text);
    if (message.role === "user" || message.role === "tool" || message.role === "function") incoming.push(text);
  }
  const answer = textOf(conversation.answer);
  const [prompt, outside] = [asked.join("\n"), incoming.join("\n")];
  const promptWords = wordsOfAll(asked);
  const answerWords = wordsOnce(answer);
  const marksOfPrompt = marksOf(promptWords, prompt);
  return {
    conversation,
    prompt,
    answer,
    incoming: outside,
    promptWords,
    answerWords,
    marks: { prompt: marksOfPrompt, answer: marksOf(answerWords, answer), incoming: outside === prompt ? marksOfPrompt : marksOf(wordsOfAll(incoming), outside) },
    length: length + lengthOf(conversation.answer, answer),
    longest,
  };
}

function lengthOf(message: Message, text: string): number {
  return text.length + (message.tool_calls === undefined ? 0 : JSON.stringify(message.tool_calls).length);
}
