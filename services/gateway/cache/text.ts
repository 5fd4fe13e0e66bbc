/**
 * A prompt's text as the words that carry its meaning, in order: lower case, accents folded, greetings and politeness taken off, spellings and
 * equal phrases made one. Both the embedding and the gates start from here.
 */
import { apostrophes, greeting, languages, measures, type Language } from "./language.ts";

export interface Reading {
  readonly text: string;
  readonly language: Language;
  /** The words that count, folded. */
  readonly words: readonly string[];
}

/** NFC, lower case, accents off. */
export function fold(text: string): string {
  return text.normalize("NFC").toLowerCase().normalize("NFD").replace(/\p{M}+/gu, "");
}

export function read(text: string): Reading {
  let plain = fold(text).replace(greeting, "");
  for (const [pattern, replacement] of apostrophes) plain = plain.replace(pattern, replacement);
  const all = splitWords(plain);
  const language = languageOf(all, text);
  if (language === "unknown") return { text, language, words: all };
  const table = languages[language];
  const spelled = all.flatMap((word) => (Object.hasOwn(table.spellings, word) ? (table.spellings[word] ?? word).split(" ") : [word]));
  let line = ` ${stripEnds(spelled.join(" "), table.openings, table.endings)} `;
  for (const [long, short] of table.phrases) if (line.includes(long)) line = line.replaceAll(` ${long} `, ` ${short} `);
  const kept = line.split(" ").filter((word) => word !== "");
  const counts = (word: string, at: number) => {
    if (language === "pt" && word === "eu") return false;
    if (!table.dropped.has(word)) return true;
    return table.indefinite.has(word) && measures.has(kept[at + 1] ?? "");
  };
  return { text, language, words: kept.filter(counts) };
}

/** Letters and digits; a number keeps its inner marks (3,5 12/03/2024 10:30 1.000). */
export function splitWords(folded: string): string[] {
  return folded.match(/\p{N}+(?:[.,:/-]\p{N}+)*\p{L}*|[\p{L}\p{N}]+/gu) ?? [];
}

function stripEnds(line: string, openings: readonly string[], endings: readonly string[]): string {
  let rest = line;
  for (;;) {
    const opening = openings.find((phrase) => rest.startsWith(`${phrase} `));
    const ending = endings.find((phrase) => rest.endsWith(` ${phrase}`));
    if (opening !== undefined) rest = rest.slice(opening.length + 1);
    else if (ending !== undefined) rest = rest.slice(0, -ending.length - 1);
    else return rest;
  }
}

/** By votes of function words; letters that only Portuguese has vote too. A tie is no answer. */
function languageOf(words: readonly string[], text: string): Language {
  let pt = /[ãõç]/iu.test(text.normalize("NFC")) ? 1 : 0;
  let en = 0;
  for (const word of words) {
    if (languages.pt.marks.has(word)) pt++;
    if (languages.en.marks.has(word)) en++;
  }
  if (pt === en) return "unknown";
  return pt > en ? "pt" : "en";
}
