/** Whether a text says the same again and again: one character, one word, or so few words that most of it is repetition. Looks at character codes and makes no string. */
import { unitsOf } from "../../../shared/domains/units.ts";

const mostWords = 400;
/** A text of fewer words may be short of words. */
const fewWords = 30;
const leastShare = 0.15;
const longestRun = 8;
const sameCharacters = /([^\s\-_=*#.~|+/\\0-9])\1{29}/u;

export function isRepetitive(text: string): boolean {
  const units = unitsOf(text);
  if (mayRepeatCharacter(units, text.length) && sameCharacters.test(text)) return true;
  stamp = stamp === 0xffffffff ? 1 : stamp + 1;
  let distinct = 0;
  let words = 0;
  let run = 0;
  let last = 0;
  for (let at = 0; at < text.length && words < mostWords; ) {
    const start = at;
    let hash = 0;
    while (at < text.length) {
      const unit = units[at] ?? 0;
      const size = sizeOf(unit, units[at + 1] ?? 0);
      if (size === 0) break;
      hash = (Math.imul(hash, 31) + (lowers[unit] ?? 0)) | 0;
      if (size === 2) hash = (Math.imul(hash, 31) + (units[at + 1] ?? 0)) | 0;
      at += size;
    }
    if (at === start) {
      at++;
      continue;
    }
    words++;
    run = run > 0 && hash === last ? run + 1 : 1;
    if (run >= longestRun) return true;
    last = hash;
    // So many different words are enough for the longest text that is looked at.
    if (distinct < mostWords * leastShare && isNew(hash)) distinct++;
  }
  if (words < fewWords) return words >= 3 && distinct === 1;
  return distinct / words < leastShare;
}

/** A table that is used again for each text: a slot counts when its stamp is the present one. It never holds more than 60 words. */
const seen = new Int32Array(256);
const stamps = new Uint32Array(256);
let stamp = 0;

function isNew(hash: number): boolean {
  let slot = Math.imul(hash, 0x9e3779b1) >>> 24;
  for (; stamps[slot] === stamp; slot = (slot + 1) & 255) if (seen[slot] === hash) return false;
  stamps[slot] = stamp;
  seen[slot] = hash;
  return true;
}

/** Thirty of a kind cover a multiple of 15 and the 14 behind it; of characters beyond the first 65,536, which take two units, nothing is said. */
function mayRepeatCharacter(units: Uint16Array, length: number): boolean {
  for (let at = 0; at < length; at += 15) {
    const unit = units[at] ?? 0;
    if ((unit === units[at + 1] && unit === units[at + 14]) || (unit >= 0xd800 && unit <= 0xdfff)) return true;
  }
  return false;
}

/** Words in lower case, the first so many of them. */
export function wordsIn(text: string, most = Infinity): string[] {
  const words: string[] = [];
  const lower = text.toLowerCase();
  for (let at = 0; at < lower.length && words.length < most; ) {
    const start = at;
    for (let size = 1; at < lower.length; at += size) {
      size = sizeOf(lower.charCodeAt(at), lower.charCodeAt(at + 1));
      if (size === 0) break;
    }
    if (at === start) at++;
    else words.push(lower.slice(start, at));
  }
  return words;
}

/** By UTF-16 unit: 0 not looked at yet, 1 a letter or digit, 2 neither, 3 the first half of a character. */
const kinds = new Uint8Array(0x1_0000);
/** Of a letter or digit that was looked at: in lower case, where that is one unit. */
const lowers = new Uint16Array(0x1_0000);

/** Units of the letter or digit that stands there; 0: none does. */
function sizeOf(unit: number, next: number): number {
  const kind = kinds[unit] || findKind(unit);
  if (kind === 1) return 1;
  return kind === 3 && /^[\p{L}\p{N}]/u.test(String.fromCharCode(unit, next)) ? 2 : 0;
}

function findKind(unit: number): number {
  const character = String.fromCharCode(unit);
  const lower = character.toLowerCase();
  lowers[unit] = lower.length === 1 ? lower.charCodeAt(0) : unit;
  return (kinds[unit] = unit >= 0xd800 && unit < 0xdc00 ? 3 : /[\p{L}\p{N}]/u.test(character) ? 1 : 2);
}
