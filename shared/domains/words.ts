/**
 * Text as words, and words as the keys that keywords are looked up by. A word is one object wherever it stands, and keeps what others have found out about
 * it: the tokens of a text are shared by the rules of quality, the language, the keywords and the classifier. Portuguese and English Porter stemmers come from `natural`.
 * What is surprising: its Portuguese stemmer is accent-sensitive (jurídico → juríd, juridico → jurid) and treats ções and ção differently, so
 * accents are folded after stemming, a word is also stemmed without its accents, and plurals in -ões are put into the singular first.
 */
import english from "natural/lib/natural/stemmers/porter_stemmer.js";
import portuguese from "natural/lib/natural/stemmers/porter_stemmer_pt.js";
import { copied, unitsOf } from "./units.ts";

export interface Word {
  readonly lexeme: Lexeme;
  /** A sentence, line or clause ended between the word before and this one. */
  readonly breakBefore: boolean;
}

/** By UTF-16 unit: 0 not looked at yet, 1 separates, 2 a letter or digit, 3 a combining mark, 4 ends a clause. */
const kinds = new Uint8Array(0x1_0000);
const separates = 1;
const letter = 2;
const mark = 3;
const ends = 4;

function findKind(unit: number): number {
  const character = String.fromCharCode(unit);
  // Halves of characters beyond the first 65,536 count as letters: of those most are, and emoji match no keyword.
  const kind = /[\p{L}\p{N}]/u.test(character) || (unit >= 0xd800 && unit <= 0xdfff) ? letter : /\p{M}/u.test(character) ? mark : /[.!?;,:\n…()]/u.test(character) ? ends : separates;
  kinds[unit] = kind;
  return kind;
}

/**
 * Texts repeat their words: by a hash of their letters, the last two that had it, so that most words of a text are neither cut out nor made again. What says
 * which word a place has lies together: its length and its first letters. The rest of a longer one is compared with the string.
 */
const mostMade = 1 << 16;
const pooled = 15;
const pool = new Uint16Array((1 + mostMade) * (1 + pooled));
const raws = new Array<string | undefined>(1 + mostMade).fill(undefined);
/** For each place the word at the beginning of a clause, and the same within one. */
const made = new Array<Word | undefined>(2 * raws.length).fill(undefined);

const apostrophe = 0x27;
const curlyApostrophe = 0x2019;

/** Without any of these a text is in NFC: it has letters of Latin and the usual signs alone, none of which changes or combines. Most texts are so, and many of those are seen to be by the way they lie in memory. */
const mayNeedNormalising = /[^\0-\u02ff\u2010-\u2027\u20a0-\u20bf]/;

/** Letters and digits of any script, with inner apostrophes (don't, d'água); c++ and c# keep their signs. */
export function wordsOf(text: string): Word[] {
  const normal = mayNeedNormalising.test(text) ? text.normalize("NFC") : text;
  const { length } = normal;
  const units = unitsOf(normal);
  const words: Word[] = [];
  let breakBefore = true;
  for (let at = 0; at < length; at++) {
    const first = units[at] ?? 0;
    const kind = kinds[first] || findKind(first);
    if (kind === ends) breakBefore = true;
    if (kind !== letter) continue;
    const start = at;
    let curly = false;
    let hash = first;
    for (at++; at < length; at++) {
      const unit = units[at] ?? 0;
      const here = kinds[unit] || findKind(unit);
      if (here === letter || here === mark) {
        hash = (Math.imul(hash, 31) + unit) | 0;
        continue;
      }
      if ((unit !== apostrophe && unit !== curlyApostrophe) || at + 1 >= length) break;
      const after = units[at + 1] ?? 0;
      if ((kinds[after] || findKind(after)) !== letter || /\p{N}/u.test(String.fromCharCode(after))) break;
      curly ||= unit === curlyApostrophe;
    }
    const next = units[at] ?? 0;
    if (next === 0x2b && units[at + 1] === 0x2b && at + 1 < length) at += 2;
    else if (next === 0x23 && (at + 1 >= length || (kinds[units[at + 1] ?? 0] || findKind(units[at + 1] ?? 0)) !== letter)) at += 1;
    const home = (hash ^ (hash >>> 15)) & (mostMade - 1);
    const place = isAt(home, at - start, units, start) ? home : isAt(home ^ 1, at - start, units, start) ? home ^ 1 : make(normal.slice(start, at), curly, raws[home] !== undefined && raws[home ^ 1] === undefined ? home ^ 1 : home);
    const word = made[2 * place + (breakBefore ? 0 : 1)];
    if (word !== undefined) words.push(word);
    breakBefore = false;
    at--; // what ended the word may end a clause
  }
  return words;
}

/** Whether the word of so many units from `start` on lies there. */
function isAt(place: number, length: number, units: Uint16Array, start: number): boolean {
  const from = place * (1 + pooled);
  if (pool[from] !== length) return false;
  for (let at = 0; at < length && at < pooled; at++) if (pool[from + 1 + at] !== units[start + at]) return false;
  const raw = length > pooled ? (raws[place] ?? "") : "";
  for (let at = pooled; at < length; at++) if (raw.charCodeAt(at) !== units[start + at]) return false;
  return true;
}

/** The texts that were looked at last: the same one is asked for by the rules of quality, the language and the keywords. */
const latest: { text: string; words: readonly Word[] }[] = [];
const mostLatest = 8;
const longestLatest = 64_000;

/** The same as wordsOf, made once for a text that is asked for again soon. */
export function wordsOnce(text: string): readonly Word[] {
  for (const one of latest) if (one.text === text) return one.words;
  const words = wordsOf(text);
  if (text.length > longestLatest) return words;
  if (latest.length >= mostLatest) latest.pop();
  latest.unshift({ text, words });
  return words;
}

/** The words of texts that stand on lines of their own. A line's end ends a clause, as a text's beginning does: the words of each are the words of all. */
export function wordsOfAll(texts: readonly string[]): readonly Word[] {
  const [first = "", ...others] = texts;
  let words = wordsOnce(first);
  for (const text of others) words = words.concat(wordsOnce(text));
  return words;
}

const mostRemembered = 50_000;
const longestRemembered = 40;

/** Where those lie that are too long to be kept: each until the next one. */
const nowhere = mostMade;

/** @returns the place, or `nowhere` */
function make(raw: string, curly: boolean, home: number): number {
  const place = raw.length <= longestRemembered ? home : nowhere;
  const lower = raw.toLowerCase();
  const copy = copied(raw);
  const lexeme = keysOf(curly ? lower.replaceAll("’", "'") : lower === raw ? copy : lower);
  raws[place] = copy;
  made[2 * place] = { lexeme, breakBefore: true };
  made[2 * place + 1] = { lexeme, breakBefore: false };
  const from = place * (1 + pooled);
  pool[from] = raw.length;
  for (let at = 0; at < Math.min(raw.length, pooled); at++) pool[from + 1 + at] = raw.charCodeAt(at);
  return place;
}

// Texts repeat their words: remember what was made of them, and forget all of it before it grows large.
const remembered = new Map<string, Lexeme>();

/** @param word lower case, NFC, straight apostrophes */
function keysOf(word: string): Lexeme {
  const known = remembered.get(word);
  if (known !== undefined) return known;
  const lexeme = new Lexeme(word);
  if (remembered.size >= mostRemembered) remembered.clear();
  if (word.length <= longestRemembered) remembered.set(word, lexeme);
  return lexeme;
}

/**
 * A word and the spellings that it is looked up by; equal keys mean the same word. Made as they are asked for: either stemmer takes about 10 µs a word, and
 * most words need none.
 */
export class Lexeme {
  /** Lower case, NFC, straight apostrophes. */
  readonly text: string;
  /** Without accents. */
  readonly plain: string;
  /** The word itself without accents and without the -s of a plural. */
  readonly exact: string;
  // What others have found out about it, for good: they alone read and write these.
  /** language.ts */
  vote: number | undefined = undefined;
  /** What the collector's rules of quality look for, as bits. */
  marks: number | undefined = undefined;
  /** negation.ts */
  cues: unknown = undefined;
  /** features.ts */
  hash: number | undefined = undefined;
  /** terms.ts: of which table `entry` is. */
  table: unknown = undefined;
  entry: unknown = undefined;
  #pt: readonly string[] | undefined;
  #en: string | undefined;

  constructor(word: string) {
    this.text = word;
    this.plain = withoutAccents(word);
    this.exact = this.plain.length > 4 && this.plain.endsWith("s") ? this.plain.slice(0, -1) : this.plain;
  }

  get pt(): readonly string[] {
    return (this.#pt ??= portugueseStems(this.text, this.plain));
  }

  get en(): string {
    return (this.#en ??= english.stem(this.plain));
  }
}

function portugueseStems(word: string, plain: string): string[] {
  const singular = word.replace(/ões$/, "ão").replace(/ães$/, "ão");
  const plainSingular = plain.replace(/(?<=.c|.s)oes$/, "ao");
  // Mostly these are one and the same.
  return [...new Set([...new Set([singular, withoutAccents(singular)])].map((form) => withoutAccents(portuguese.stem(form))).concat(plainSingular === singular ? [] : [portuguese.stem(plainSingular)]))];
}

export function withoutAccents(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text;
  return text.normalize("NFD").replace(/\p{M}/gu, "").normalize("NFC");
}
