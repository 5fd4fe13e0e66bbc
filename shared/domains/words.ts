/**
 * Text as words, and words as the keys that keywords are looked up by. Portuguese and English Porter stemmers come from `natural`.
 * What is surprising: its Portuguese stemmer is accent-sensitive (jurídico → juríd, juridico → jurid) and treats ções and ção differently, so
 * accents are folded after stemming, a word is also stemmed without its accents, and plurals in -ões are put into the singular first.
 */
import english from "natural/lib/natural/stemmers/porter_stemmer.js";
import portuguese from "natural/lib/natural/stemmers/porter_stemmer_pt.js";

export interface Word {
  /** Lower case, NFC, straight apostrophes. */
  readonly text: string;
  /** A sentence, line or clause ended between the word before and this one. */
  readonly breakBefore: boolean;
}

/** The spellings that a word is looked up by; equal keys mean the same word. */
export interface WordKeys {
  /** The word itself without accents and without the -s of a plural. */
  readonly exact: string;
  readonly pt: readonly string[];
  readonly en: string;
}

// Letters and digits of any script, with inner apostrophes (don't, d'água); c++ and c# keep their signs.
const wordPattern = /[\p{L}\p{N}][\p{L}\p{N}\p{M}]*(?:['’][\p{L}\p{M}]+)*(?:\+\+|#(?![\p{L}\p{N}]))?/gu;
const breakPattern = /[.!?;,:\n…()]/u;

export function wordsOf(text: string): Word[] {
  const normal = text.normalize("NFC");
  const words: Word[] = [];
  let end = 0;
  for (const match of normal.matchAll(wordPattern)) {
    words.push({ text: match[0].toLowerCase().replaceAll("’", "'"), breakBefore: words.length === 0 || breakPattern.test(normal.slice(end, match.index)) });
    end = match.index + match[0].length;
  }
  return words;
}

// Both stemmers take about 10 µs a word and texts repeat their words: remember what was stemmed, and forget all of it before it grows large.
const remembered = new Map<string, WordKeys>();
const mostRemembered = 50_000;

export function keysOf(word: string): WordKeys {
  const known = remembered.get(word);
  if (known !== undefined) return known;
  const plain = withoutAccents(word);
  const singular = word.replace(/ões$/, "ão").replace(/ães$/, "ão");
  const plainSingular = plain.replace(/(?<=.c|.s)oes$/, "ao");
  const pt = new Set([withoutAccents(portuguese.stem(singular)), withoutAccents(portuguese.stem(withoutAccents(singular))), portuguese.stem(plainSingular)]);
  const keys = { exact: plain.length > 4 ? plain.replace(/s$/, "") : plain, pt: [...pt], en: english.stem(plain) };
  if (remembered.size >= mostRemembered) remembered.clear();
  if (word.length <= 40) remembered.set(word, keys);
  return keys;
}

export function withoutAccents(text: string): string {
  return text.normalize("NFD").replace(/\p{M}/gu, "").normalize("NFC");
}
