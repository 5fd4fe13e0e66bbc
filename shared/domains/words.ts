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
  /** Without accents. */
  readonly plain: string;
  /** The word itself without accents and without the -s of a plural. */
  readonly exact: string;
  readonly pt: readonly string[];
  readonly en: string;
}

/** By UTF-16 unit: 0 not looked at yet, 1 separates, 2 a letter or digit, 3 a combining mark, 4 ends a clause. */
const kinds = new Uint8Array(0x1_0000);
const separates = 1;
const letter = 2;
const mark = 3;
const ends = 4;

function kindOf(unit: number): number {
  const known = kinds[unit] ?? separates;
  if (known !== 0) return known;
  const character = String.fromCharCode(unit);
  // Halves of characters beyond the first 65,536 count as letters: of those most are, and emoji match no keyword.
  const kind = /[\p{L}\p{N}]/u.test(character) || (unit >= 0xd800 && unit <= 0xdfff) ? letter : /\p{M}/u.test(character) ? mark : /[.!?;,:\n…()]/u.test(character) ? ends : separates;
  kinds[unit] = kind;
  return kind;
}

/** A word as it stands in texts, at the beginning of a clause and within one. */
interface Forms {
  readonly raw: string;
  readonly first: Word;
  readonly inner: Word;
}

/** Texts repeat their words: by a hash of their letters, the last one that had it, so that most words of a text are neither cut out nor made again. */
const mostMade = 1 << 15;
const made: (Forms | undefined)[] = Array.from({ length: mostMade }, () => undefined);

const isApostrophe = (unit: number) => unit === 0x27 || unit === 0x2019;

/** Letters and digits of any script, with inner apostrophes (don't, d'água); c++ and c# keep their signs. */
export function wordsOf(text: string): Word[] {
  const normal = text.normalize("NFC");
  const words: Word[] = [];
  let breakBefore = true;
  for (let at = 0; at < normal.length; at++) {
    const kind = kindOf(normal.charCodeAt(at));
    if (kind === ends) breakBefore = true;
    if (kind !== letter) continue;
    const start = at;
    let curly = false;
    let hash = normal.charCodeAt(at);
    for (at++; at < normal.length; at++) {
      const unit = normal.charCodeAt(at);
      const here = kindOf(unit);
      if (here === letter || here === mark) {
        hash = Math.imul(hash, 31) + unit;
        continue;
      }
      if (!isApostrophe(unit) || kindOf(normal.charCodeAt(at + 1)) !== letter || /\p{N}/u.test(normal.charAt(at + 1))) break;
      curly ||= unit === 0x2019;
    }
    if (normal.charCodeAt(at) === 0x2b && normal.charCodeAt(at + 1) === 0x2b) at += 2;
    else if (normal.charCodeAt(at) === 0x23 && (at + 1 >= normal.length || kindOf(normal.charCodeAt(at + 1)) !== letter)) at += 1;
    const known = made[(hash ^ (hash >>> 15)) & (mostMade - 1)];
    const forms = known !== undefined && known.raw.length === at - start && normal.startsWith(known.raw, start) ? known : make(normal.slice(start, at), curly, hash);
    words.push(breakBefore ? forms.first : forms.inner);
    breakBefore = false;
    at--; // what ended the word may end a clause
  }
  return words;
}

const mostRemembered = 50_000;
const longestRemembered = 40;

function make(raw: string, curly: boolean, hash: number): Forms {
  const lower = raw.toLowerCase();
  const text = curly ? lower.replaceAll("’", "'") : lower;
  // A slice of a long text would keep all of it in memory.
  const forms = { raw: Buffer.from(raw, "utf16le").toString("utf16le"), first: { text, breakBefore: true }, inner: { text, breakBefore: false } };
  if (raw.length <= longestRemembered) made[(hash ^ (hash >>> 15)) & (mostMade - 1)] = forms;
  return forms;
}

// Texts repeat their words: remember what was made of them, and forget all of it before it grows large.
const remembered = new Map<string, WordKeys>();

export function keysOf(word: string): WordKeys {
  const known = remembered.get(word);
  if (known !== undefined) return known;
  const keys = new Keys(word);
  if (remembered.size >= mostRemembered) remembered.clear();
  if (word.length <= longestRemembered) remembered.set(word, keys);
  return keys;
}

/** Either stemmer takes about 10 µs a word, and whoever wants to know the language or a denial asks for no stem. */
class Keys implements WordKeys {
  readonly plain: string;
  readonly exact: string;
  readonly #word: string;
  #pt: readonly string[] | undefined;
  #en: string | undefined;

  constructor(word: string) {
    this.#word = word;
    this.plain = withoutAccents(word);
    this.exact = this.plain.length > 4 ? this.plain.replace(/s$/, "") : this.plain;
  }

  get pt(): readonly string[] {
    return (this.#pt ??= portugueseStems(this.#word, this.plain));
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
