/**
 * Text as the codes that the search for duplicates compares: case, the spelling of accents, punctuation and spaces make no difference. Writes into one
 * buffer that is used again, and makes no string: this runs over every character of every conversation.
 */
import { unitsOf } from "../../../shared/domains/units.ts";

let codes = new Uint16Array(16_384);

/** 0: a separator; 0xffff: not looked at yet; 0xfffe: only NFKC of the whole text can tell; else the code of the folded letter or digit. */
const folded = new Uint16Array(0x1_0000).fill(0xffff);
const separator = 0;
const unknown = 0xffff;
const needsWhole = 0xfffe;

/** @returns the buffer, valid until the next call, and how many of its codes count; words are separated by one 0 */
export function foldText(text: string): { codes: Uint16Array; length: number } {
  const length = fold(text);
  // A combining mark, a full-width digit, a ligature: rare, and then the whole text is put into one form first.
  return { codes, length: length >= 0 ? length : Math.max(0, fold(text.normalize("NFKC"), true)) };
}

/** The same as a string, for tests and logs. */
export function canonicalText(text: string): string {
  const { codes: buffer, length } = foldText(text);
  return String.fromCharCode(...buffer.subarray(0, length)).replaceAll("\0", " ");
}

function fold(text: string, isNfkc = false): number {
  if (codes.length < text.length + 1) codes = new Uint16Array(2 * text.length);
  const units = unitsOf(text);
  let length = 0;
  let pending = false;
  for (let at = 0; at < text.length; at++) {
    const unit = units[at] ?? 0;
    let code = folded[unit] ?? separator;
    if (code === unknown) code = classify(unit);
    if (code === needsWhole) {
      if (!isNfkc) return -1;
      code = unit;
    }
    if (code === separator) {
      pending = length > 0;
      continue;
    }
    if (pending) {
      codes[length++] = separator;
      pending = false;
    }
    codes[length++] = code;
  }
  return length;
}

function classify(unit: number): number {
  const character = String.fromCharCode(unit);
  let code = separator;
  if (unit >= 0xd800 && unit <= 0xdfff) code = unit; // half of a character beyond the first 65,536: letters of rare scripts and emoji count alike
  else if (character.normalize("NFKC") !== character || /\p{M}/u.test(character)) code = needsWhole;
  else if (/[\p{L}\p{N}]/u.test(character)) {
    const lower = character.toLowerCase();
    code = lower.length === 1 ? lower.charCodeAt(0) : unit;
  }
  folded[unit] = code;
  return code;
}
