/**
 * Which of the dear expressions of patterns.ts are worth a try: each can only match a text in which one of a few telling words stands. What a word tells is
 * found out once and remembered on it, so that a text without any of them costs one look at each word.
 */
import type { Word } from "../../../shared/domains/words.ts";

/** Bit n: the n-th of the injections may match; then these. */
export const mayLeakSecret = 1 << 16;
export const mayAskForLanguage = 1 << 17;

/** By bit, a part of a word (lower case) without which the expression can't match: test/collector/quality.test.ts holds the two together. */
const tellingWords: readonly (readonly [bits: number, part: RegExp])[] = [
  [1 << 0, /instruction|prompt|rules|guidelines|directives|messages/],
  [1 << 1, /instruções|instrucoes|regras|orientações|comandos|diretrizes|prompt/],
  [1 << 2, /prompt|instruction|message/],
  [1 << 3, /prompt|instruções/],
  [1 << 4, /^dan$|jailbroken|unrestricted|restrictions|limits|filters|rules/],
  [1 << 5, /^dan$|restrições|limites|filtros|regras/],
  [1 << 6, /anything|jailbreak|developer|desenvolvedor/],
  [mayLeakSecret, /private|sk$|gh[pousr]$|akia|aiza|xox[abp]$|glpat$|eyj/],
  [mayAskForLanguage, /tradu[zçc]|translat|ingl[eê]s|english|portugu[eê]s|portuguese|idioma|language|espanhol|spanish/],
];
/** Signs that are no words. */
const markup = 1 << 7;

export function marksOf(words: readonly Word[], text: string): number {
  let marks = text.includes("<|") || text.includes("INST]") || text.includes("SYS>>") ? markup : 0;
  for (let at = 0; at < words.length; at++) {
    const lexeme = words[at]?.lexeme;
    if (lexeme === undefined) break;
    marks |= lexeme.marks ??= marksOfWord(lexeme.text);
  }
  return marks;
}

function marksOfWord(text: string): number {
  let marks = 0;
  for (const [bits, part] of tellingWords) if (part.test(text)) marks |= bits;
  return marks;
}
