/**
 * A text as the recognisers look at it. Almost everything personal has digits in it, and most of a text has none near: patterns are tried on windows
 * around the digits, and words before a candidate are looked up before a context's expression is run. That is what makes 90 patterns cheap.
 */

/** A stretch around digits, cut at white space. */
export interface Window {
  readonly start: number;
  readonly end: number;
  /** Digits in it. */
  readonly digits: number;
  readonly text: string;
}

/** Beginnings of words, a bit for each of one, two or three letters without case and accents. */
export type Starts = Uint32Array;

export interface Scanned {
  readonly text: string;
  /** @param reach characters on either side of the digits that a pattern may need */
  windows(reach: number): readonly Window[];
  /** The text just before a candidate, in which context words may stand. */
  before(start: number): string;
  /** Of the words just before a candidate. */
  startsBefore(start: number): Starts;
  /** Of all words that stand just before any place of the window, or whose rest does where what is before a place begins within a word. */
  startsAround(window: Window): Starts;
}

/** How far back a context word may stand. */
export const contextLength = 80;

export function scan(text: string): Scanned {
  const byReach = new Map<number, readonly Window[]>();
  const starts = new Map<number, Starts>();
  const around = new Map<Window, Starts>();
  const before = (start: number) => text.slice(Math.max(0, start - contextLength), start);
  return {
    text,
    windows(reach) {
      let windows = byReach.get(reach);
      if (windows === undefined) byReach.set(reach, (windows = findWindows(text, reach)));
      return windows;
    },
    before,
    startsBefore(start) {
      let words = starts.get(start);
      if (words === undefined) starts.set(start, (words = addStarts(text, Math.max(0, start - contextLength), start)));
      return words;
    },
    startsAround(window) {
      let words = around.get(window);
      if (words === undefined) around.set(window, (words = startsBeforeAny(text, window.start, window.end)));
      return words;
    },
  };
}

const anyDigit = /[0-9]/g;

function findWindows(text: string, reach: number): Window[] {
  const windows: Window[] = [];
  let end = 0;
  let at = 0;
  while (at < text.length) {
    anyDigit.lastIndex = at;
    at = anyDigit.exec(text)?.index ?? text.length;
    if (at === text.length) break;
    let start = Math.max(end, at - reach);
    while (start > end && !isSpace(text.charCodeAt(start - 1))) start--;
    let digits = 0;
    let last = at;
    // Digits whose windows would touch are one window.
    for (; at < text.length && at <= last + 2 * reach; at++) {
      if (!isDigit(text.charCodeAt(at))) continue;
      digits++;
      last = at;
    }
    end = Math.min(text.length, last + 1 + reach);
    while (end < text.length && !isSpace(text.charCodeAt(end))) {
      if (isDigit(text.charCodeAt(end))) digits++;
      end++;
    }
    at = end;
    windows.push({ start, end, digits, text: text.slice(start, end) });
  }
  return windows;
}

/** Letters without accents and case, 0 for what is none. Latin only: context words are Portuguese and English. */
const plainLetters = Uint8Array.from({ length: 0x180 }, (_, code) => {
  const letter = String.fromCharCode(code).normalize("NFD").charAt(0).toLowerCase();
  return /^[a-z]$/.test(letter) ? letter.charCodeAt(0) : 0;
});

const letters = 27;
/** Three letters as a number; fewer are smaller, because no letter is 0. */
const startsBits = letters ** 3;
const firstOfThree = letters ** 2;

function addStarts(text: string, from: number, to: number, starts: Starts = new Uint32Array(Math.ceil(startsBits / 32))): Starts {
  let start = 0;
  let inside = false;
  for (let at = from; at < to; at++) {
    const code = text.charCodeAt(at);
    const letter = plainLetters[code] ?? 0;
    if (letter === 0) {
      if (!isAccent(code)) inside = false;
      continue;
    }
    if (!inside) start = 0;
    inside = true;
    if (start >= firstOfThree) continue;
    start = start * letters + letter - 96;
    starts[start >>> 5] = (starts[start >>> 5] ?? 0) | (1 << (start & 31));
  }
  return starts;
}

/** What is before a place begins contextLength characters before it, maybe within a word: each such rest of a word counts as one. */
function startsBeforeAny(text: string, first: number, last: number): Starts {
  const from = Math.max(0, first - contextLength);
  const starts = addStarts(text, from, last);
  for (let at = from; at <= last - contextLength; at++) {
    let letter = at;
    while (letter < last && isAccent(text.charCodeAt(letter))) letter++;
    let end = letter;
    for (let count = 0; end < last && count < 3; end++) if (!isAccent(text.charCodeAt(end))) count++;
    addStarts(text, letter, end, starts);
  }
  return starts;
}

/** The number of the longest start, of at most three letters, of a word; null where it has none, or letters that are not Latin. */
export function startOf(word: string): number | null {
  const codes = word.normalize("NFC").split("").map((unit) => plainLetters[unit.charCodeAt(0)] ?? 0);
  return codes.length === 0 || codes.includes(0) ? null : codes.slice(0, 3).reduce((start, code) => start * letters + code - 96, 0);
}

export function hasOneOf(starts: Starts, wanted: Uint16Array): boolean {
  for (const start of wanted) if (((starts[start >>> 5] ?? 0) >>> (start & 31)) & 1) return true;
  return false;
}

/** A combining accent belongs to the letter before. */
const isAccent = (code: number) => code >= 0x300 && code <= 0x36f;

const isDigit = (code: number) => code >= 48 && code <= 57;
const isSpace = (code: number) => code === 32 || (code >= 9 && code <= 13);
