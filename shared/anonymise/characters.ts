/** What kind of character stands at a place of a text: a table by UTF-16 unit, filled as units are met, so that no scan runs an expression per character. */

/** Letters without accents and case, 1 to 26, and 0 for what is none of the Latin ones: the words that the recognisers look for are Portuguese and English. */
export const plainLetter = 0x1f;
export const isLetter = 0x20;
export const isCapital = 0x40;
/** 0 to 9 only. */
export const isDigit = 0x80;
/** What \w is beyond ASCII: letters, numbers and the underscore. */
const isWord = 0x100;
/** Letters and numbers. */
export const isLetterOrNumber = 0x200;
/** A combining accent: belongs to the letter before. */
export const isAccent = 0x400;
/** Must be looked at by itself: an accent, half of a character beyond the first 65,536, or a unit that the table does not know yet. */
const isSpecial = 0x800;
const isKnown = 0x1000;

/** By UTF-16 unit; not to be written to. */
export const kinds = new Uint16Array(0x1_0000).fill(isSpecial);

/** Bits of the unit at a place, 0 outside the text. Both halves of a character beyond the first 65,536 have its bits. */
export function kindAt(text: string, at: number): number {
  if (at < 0 || at >= text.length) return 0;
  const unit = text.charCodeAt(at);
  const kind = kinds[unit] ?? 0;
  if ((kind & isSpecial) === 0 || (kind & isKnown) !== 0) return kind;
  if (unit < 0xd800 || unit > 0xdfff) return (kinds[unit] = bitsOf(String.fromCharCode(unit)));
  const point = text.codePointAt(unit >= 0xdc00 ? at - 1 : at) ?? 0;
  return point > 0xffff ? bitsOf(String.fromCodePoint(point)) : isKnown;
}

function bitsOf(character: string): number {
  const letter = /\p{L}/u.test(character);
  const letterOrNumber = letter || /\p{N}/u.test(character);
  const plain = character.normalize("NFD").charAt(0).toLowerCase();
  return (
    isKnown |
    (letter ? isLetter | (/^[a-z]$/.test(plain) ? plain.charCodeAt(0) - 96 : 0) : 0) |
    (letterOrNumber ? isLetterOrNumber : 0) |
    (letterOrNumber || character === "_" ? isWord : 0) |
    (/\p{Lu}/u.test(character) ? isCapital : 0) |
    (/[0-9]/.test(character) ? isDigit : 0) |
    (/[\u0300-\u036f]/.test(character) ? isAccent | isSpecial : 0)
  );
}

/** Whether a word goes on from one place to the next. */
export function isWithinWord(text: string, left: number): boolean {
  return (kindAt(text, left) & isWord) !== 0 && (kindAt(text, left + 1) & isWord) !== 0;
}

/** The value of one character's letter, 0 for none. */
export const letterOf = (character: string) => kindAt(character, 0) & plainLetter;
