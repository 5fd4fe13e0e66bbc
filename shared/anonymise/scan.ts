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
}

export interface Scanned {
  readonly text: string;
  /** @param reach characters on either side of the digits that a pattern may need */
  windows(reach: number): readonly Window[];
  /** The text just before a candidate, in which context words may stand. */
  before(start: number): string;
  /** The first one, two and three letters of each word just before a candidate, without case and accents. */
  startsBefore(start: number): ReadonlySet<string>;
}

/** How far back a context word may stand. */
export const contextLength = 80;

export function scan(text: string): Scanned {
  const byReach = new Map<number, readonly Window[]>();
  const starts = new Map<number, ReadonlySet<string>>();
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
      if (words === undefined) starts.set(start, (words = startsOfWords(before(start))));
      return words;
    },
  };
}

function findWindows(text: string, reach: number): Window[] {
  const windows: Window[] = [];
  let end = 0;
  let at = 0;
  while (at < text.length) {
    if (!isDigit(text.charCodeAt(at))) {
      at++;
      continue;
    }
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
    windows.push({ start, end, digits });
  }
  return windows;
}

/** Letters without accents and case, 0 for what is none. Latin only: context words are Portuguese and English. */
const plainLetters = Uint8Array.from({ length: 0x180 }, (_, code) => {
  const letter = String.fromCharCode(code).normalize("NFD").charAt(0).toLowerCase();
  return /^[a-z]$/.test(letter) ? letter.charCodeAt(0) : 0;
});

export function startsOfWords(text: string): Set<string> {
  const starts = new Set<string>();
  let start = "";
  let inside = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const letter = plainLetters[code] ?? 0;
    if (letter === 0) {
      // A combining accent belongs to the letter before.
      if (code < 0x300 || code > 0x36f) inside = false;
      continue;
    }
    if (!inside) start = "";
    inside = true;
    if (start.length === 3) continue;
    start += String.fromCharCode(letter);
    starts.add(start);
  }
  return starts;
}

const isDigit = (code: number) => code >= 48 && code <= 57;
const isSpace = (code: number) => code === 32 || (code >= 9 && code <= 13);
