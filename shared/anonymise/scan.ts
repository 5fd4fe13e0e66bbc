/**
 * The one look at every character of a text: where numbers stand, where words stand that a recogniser wants to see, where capitals begin a word, which signs
 * there are. Recognisers are tried at these places alone. One scan is kept and filled anew for each text: whoever scans a text is done with the one before.
 */
import { isAccent, isDigit, isLetter, kindAt, kinds, plainLetter } from "./characters.ts";
import { codes, firstOfThree, nextCode, noteParts, partsOf, type Parts } from "./triggers.ts";

/** What a set of recognisers wants to be told about. */
export interface Wanted {
  /** By the code of a word's first letters (triggers.ts): what is noted for it, from 1; 0 for nothing. */
  readonly words: Uint16Array;
  readonly parts: Parts;
  readonly partCount: number;
}

/** @param words marks by code @param parts of words, wherever they stand in one */
export function wanted(words: ReadonlyMap<number, number>, parts: readonly string[]): Wanted {
  const table = new Uint16Array(codes);
  for (const [code, mark] of words) table[code] = mark;
  return { words: table, parts: partsOf(parts), partCount: parts.length };
}

const table = kinds;
const signsHere = new Uint8Array(128);

/** A list of places that keeps its memory. */
class Places {
  items = new Int32Array(64);
  length = 0;

  push(value: number): void {
    this.reserve(1);
    this.items[this.length++] = value;
  }

  /** @param offset added to each of the first `count` */
  append(places: Int32Array, count: number, offset: number): void {
    this.reserve(count);
    for (let index = 0; index < count; index++) this.items[this.length++] = (places[index] ?? 0) + offset;
  }

  reserve(more: number): void {
    if (this.length + more <= this.items.length) return;
    const larger = new Int32Array(Math.max(this.items.length * 2, this.length + more));
    larger.set(this.items);
    this.items = larger;
  }

  at(index: number): number {
    return this.items[index] ?? 0;
  }

  /** Of ascending places the number of the last that is less than `start`; -1 for none. */
  lastBefore(start: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.at(middle) < start) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

export class Scan {
  text = "";
  /** First places of numbers (0 to 9, one after the other), and the places after them. */
  readonly numbers = new Places();
  readonly numberEnds = new Places();
  /** Digits from this number on, as long as at most three characters that are no letters stand between two numbers. */
  readonly digits = new Places();
  /** First places of wanted words that no word's character stands before, and their marks. */
  readonly words = new Places();
  readonly marks = new Places();
  /** Capitals that begin a word. */
  readonly capitals = new Places();
  /** 1 for each wanted part of a word that is there. */
  seen = new Uint8Array(0);
  /** By ASCII code: 0 if the text has no such character. */
  readonly signs = signsHere;
  /** Of the present block: how many words begin in it; the last four letters before the next one. */
  startCount = 0;
  lastLetters = 0;
}

/** How many characters may stand between two numbers that are written apart. */
const widestGap = 3;
/**
 * Characters are looked at in an array, so many at a time: three times as fast as in the string. What is found in a block is written into arrays that never
 * change, because the compiler knows where those are.
 */
const blockLength = 0x1_0000;
/** Letters of the next block that may belong to a word's first three. */
const ahead = 2;
const units = new Uint16Array(blockLength + ahead);
const unitBytes = Buffer.from(units.buffer);
const startsHere = new Int32Array(blockLength + 1);
const numbersHere = new Int32Array(blockLength + 1);
const endsHere = new Int32Array(blockLength + 1);

export function scanInto(scan: Scan, text: string, { words, parts, partCount }: Wanted): Scan {
  const { numbers, numberEnds, marks, capitals } = scan;
  scan.text = text;
  numbers.length = numberEnds.length = scan.digits.length = scan.words.length = marks.length = capitals.length = 0;
  signsHere.fill(0);
  if (scan.seen.length === partCount) scan.seen.fill(0);
  else scan.seen = new Uint8Array(partCount);
  let before = 0; // kind of the character before
  scan.lastLetters = 0;
  for (let block = 0; block < text.length; block += blockLength) {
    const length = Math.min(blockLength, text.length - block);
    const read = Math.min(length + ahead, text.length - block);
    unitBytes.write(read === text.length ? text : text.slice(block, block + read), "utf16le");
    units.fill(0, read, length + ahead);
    before = scanBlock(scan, parts, block, length, before);
    noteWords(scan, words, block);
  }
  if ((before & isDigit) !== 0) numberEnds.push(text.length);
  countDigits(scan);
  return scan;
}

/**
 * Beginnings of words and numbers. Without branches: every place is written down, and the list grows only where there is one. A wrong guess of the
 * processor at each word's end would cost more than all else. The masks are those of characters.ts, in figures: constants of another module are read each time.
 */
function scanBlock(scan: Scan, parts: Parts, block: number, length: number, carried: number): number {
  const { text, seen } = scan;
  const { ends } = parts;
  let startCount = 0;
  let numberCount = 0;
  let endCount = 0;
  let before = carried;
  let last = scan.lastLetters;
  for (let at = 0; at < length; at++) {
    const unit = units[at] ?? 0;
    let kind = table[unit] ?? 0;
    if ((kind & 0x800) !== 0) {
      kind = kindAt(text, block + at);
      if ((kind & isAccent) !== 0) continue; // belongs to the letter before
    }
    signsHere[unit & 127] = 1;
    const letter = (kind & 0x20) >>> 5;
    startsHere[startCount] = at;
    startCount += letter & ~((before & 0x100) >>> 8);
    const change = (kind ^ before) & 0x80;
    numbersHere[numberCount] = at;
    numberCount += (change & kind) >>> 7;
    endsHere[endCount] = at;
    endCount += (change & before) >>> 7;
    last = ((last << 5) | (kind & 0x1f)) & 0xf_ffff & -letter;
    if ((((ends[last >>> 5] ?? 0) >>> (last & 31)) & 1) !== 0) noteParts(parts, last, text, block + at, seen);
    before = kind;
  }
  scan.startCount = startCount;
  scan.numbers.append(numbersHere, numberCount, block);
  scan.numberEnds.append(endsHere, endCount, block);
  scan.lastLetters = last;
  return before;
}

function noteWords(scan: Scan, words: Uint16Array, block: number): void {
  const { text, startCount } = scan;
  for (let index = 0; index < startCount; index++) {
    const at = startsHere[index] ?? 0;
    const first = table[units[at] ?? 0] ?? 0;
    if ((first & 0x40) !== 0) scan.capitals.push(block + at);
    const second = table[units[at + 1] ?? 0] ?? 0;
    const third = table[units[at + 2] ?? 0] ?? 0;
    const code = ((first | second | third) & 0x800) !== 0 ? codeAmongAccents(text, block + at) : codeOf(first, second, third);
    const mark = words[code] ?? 0;
    if (mark === 0) continue;
    scan.words.push(block + at);
    scan.marks.push(mark);
  }
}

/** Of a word's first three letters, or of all of a shorter one; 0 where one of them is not Latin. */
function codeOf(first: number, second: number, third: number): number {
  const one = first & 0x1f;
  if ((second & 0x20) === 0 || one === 0) return one;
  const two = second & 0x1f;
  if ((third & 0x20) === 0 || two === 0) return two === 0 ? 0 : nextCode(one, two);
  return (third & 0x1f) === 0 ? 0 : nextCode(nextCode(one, two), third & 0x1f);
}

/** The same where one of them has accents after it, or must be looked at by itself. */
function codeAmongAccents(text: string, start: number): number {
  let code = 0;
  for (let at = start; code < firstOfThree; at++) {
    const kind = kindAt(text, at);
    if ((kind & isAccent) !== 0) continue;
    if ((kind & isLetter) === 0) return code;
    if ((kind & plainLetter) === 0) return 0;
    code = nextCode(code, kind & plainLetter);
  }
  return code;
}

/** From the last number to the first. */
function countDigits({ text, numbers, numberEnds, digits }: Scan): void {
  const count = numbers.length;
  digits.reserve(count);
  digits.length = count;
  let following = 0;
  let next = Number.POSITIVE_INFINITY;
  for (let index = count - 1; index >= 0; index--) {
    const end = numberEnds.at(index);
    following = (isNear(text, end, next) ? following : 0) + end - numbers.at(index);
    next = numbers.at(index);
    digits.items[index] = following;
  }
}

function isNear(text: string, end: number, next: number): boolean {
  if (next - end > widestGap) return false;
  for (let at = end; at < next; at++) if ((kindAt(text, at) & isLetter) !== 0) return false;
  return true;
}
