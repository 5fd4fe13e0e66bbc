/**
 * Which words of a text can matter at all: each word of the recognisers' tables leaves a mark by its first three letters, or by all of a shorter word. A mark
 * is a promise of nothing: what it leads to has the last word.
 */
import { kindAt, letterOf, plainLetter } from "./characters.ts";

const letters = 27;
const bits = 5;
/** How many codes there are: three letters of five bits each; fewer are smaller, because no letter is 0. */
export const codes = 2 ** (3 * bits);
/** Codes of three letters begin here. */
export const firstOfThree = 2 ** (2 * bits);

export const nextCode = (code: number, letter: number) => (code << bits) | letter;

/** Codes of the words that may begin an alternative of a regular expression; null if one begins with anything but Latin letters. @param words alternatives */
export function codesOf(words: string): ReadonlySet<number> | null {
  const found = new Set<number>();
  for (const alternative of topLevel(words)) if (!addCodes(alternative, found)) return null;
  return found;
}

function addCodes(alternative: string, found: Set<number>): boolean {
  const bare = alternative.replace(/^(?:\\b|\(\?<[!=][^()]*\))+/, "");
  const group = groupAtStart(bare);
  if (group !== null) {
    const { inner, optional, rest } = group;
    return topLevel(inner).every((one) => addCodes(one + rest, found)) && (!optional || addCodes(rest, found));
  }
  const literal = /^[\p{L}\p{M}]*/u.exec(bare)?.[0] ?? "";
  const rest = bare.slice(literal.length);
  // The letter before a "?" may be missing.
  const sure = /^[?{*]/.test(rest) ? literal.slice(0, -1) : literal;
  const code = codeOf(sure);
  if (code === null) return false;
  found.add(code);
  // A short one may go on with whatever the expression allows.
  if (sure.length < 3 && !(sure === literal && /^(?:$|[ /-]|\\\.(?![?*{]))/.test(rest))) addLonger(code, sure.length, found);
  return true;
}

function addLonger(code: number, length: number, found: Set<number>): void {
  if (length === 3) return;
  for (let letter = 1; letter < letters; letter++) {
    found.add(nextCode(code, letter));
    addLonger(nextCode(code, letter), length + 1, found);
  }
}

/** The number of a word's first three letters; null where it has none, or letters that are not Latin. */
function codeOf(word: string): number | null {
  const values = Array.from(word.normalize("NFC"), (character) => letterOf(character));
  return values.length === 0 || values.includes(0) ? null : values.slice(0, 3).reduce(nextCode, 0);
}

function groupAtStart(text: string): { inner: string; optional: boolean; rest: string } | null {
  if (!text.startsWith("(?:")) return null;
  const end = endOfGroup(text);
  const optional = text[end + 1] === "?";
  return { inner: text.slice(3, end), optional, rest: text.slice(end + (optional ? 2 : 1)) };
}

function endOfGroup(text: string): number {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return at;
  }
  return text.length;
}

function topLevel(words: string): string[] {
  const parts: string[] = [""];
  let depth = 0;
  for (let at = 0; at < words.length; at++) {
    const character = words[at] ?? "";
    if (character === "(" || character === "[") depth++;
    if (character === ")" || character === "]") depth--;
    if (character === "|" && depth === 0) parts.push("");
    else parts[parts.length - 1] = `${parts.at(-1) ?? ""}${character}${character === "\\" ? (words[++at] ?? "") : ""}`;
  }
  return parts;
}

/** Parts of words, wherever they stand in one ("userToken"): by their last four letters, so that one look per letter is enough. */
export interface Parts {
  /** A bit for each code of four letters: whether one of them may end there. */
  readonly ends: Uint32Array;
  /** By the same code. */
  readonly byEnd: ReadonlyMap<number, readonly Part[]>;
}

interface Part {
  readonly number: number;
  /** Values of plainLetters. */
  readonly letters: readonly number[];
}

/** @param words of Latin letters, at least three; each is known by its place in the list */
export function partsOf(words: readonly string[]): Parts {
  const ends = new Uint32Array(2 ** (4 * bits - 5));
  const byEnd = new Map<number, Part[]>();
  for (const [number, word] of words.entries()) {
    const values = Array.from(word, letterOf);
    if (values.length < 3 || values.includes(0)) throw new RangeError(`${word} is no word of three Latin letters or more`);
    const three = values.slice(-3).reduce(nextCode, 0);
    // Any letter or none may stand before a word of three.
    for (const fourth of values.length > 3 ? [values.at(-4) ?? 0] : Array.from({ length: letters }, (_, letter) => letter)) {
      const end = fourth * codes + three;
      ends[end >>> 5] = (ends[end >>> 5] ?? 0) | (1 << (end & 31));
      byEnd.set(end, [...(byEnd.get(end) ?? []), { number, letters: values }]);
    }
  }
  return { ends, byEnd };
}

/** Notes which of the parts end at a place, of which `ends` says that one may. */
export function noteParts({ byEnd }: Parts, end: number, text: string, at: number, seen: Uint8Array): void {
  for (const { number, letters: values } of byEnd.get(end) ?? []) {
    const first = at - values.length + 1;
    if (seen[number] === 0 && values.every((value, index) => (kindAt(text, first + index) & plainLetter) === value)) seen[number] = 1;
  }
}
