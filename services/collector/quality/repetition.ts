/** Whether a text says the same again and again: one character, one word, or so few words that most of it is repetition. Looks at character codes and makes no string. */

const mostWords = 400;
/** A text of fewer words may be short of words. */
const fewWords = 30;
const leastShare = 0.15;
const longestRun = 8;
const sameCharacters = /([^\s\-_=*#.~|+/\\0-9])\1{29}/u;

export function isRepetitive(text: string): boolean {
  if (mayRepeatCharacter(text) && sameCharacters.test(text)) return true;
  distinct.clear();
  let words = 0;
  let run = 0;
  let last = 0;
  for (let at = 0; at < text.length && words < mostWords; ) {
    const start = at;
    let hash = 0;
    for (let size = sizeInWord(text, at); size > 0 && at < text.length; size = sizeInWord(text, at)) {
      hash = (Math.imul(hash, 31) + lowered(text.charCodeAt(at))) | 0;
      if (size === 2) hash = (Math.imul(hash, 31) + text.charCodeAt(at + 1)) | 0;
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
    if (distinct.size < mostWords * leastShare) distinct.add(hash);
  }
  if (words < fewWords) return words >= 3 && distinct.size === 1;
  return distinct.size / words < leastShare;
}

const distinct = new Set<number>();

/** Thirty of a kind cover a multiple of 29 and its neighbour; of characters beyond the first 65,536, which take two units, nothing is said. */
function mayRepeatCharacter(text: string): boolean {
  for (let at = 29; at < text.length; at += 29) {
    const unit = text.charCodeAt(at);
    if (unit === text.charCodeAt(at + 1) || unit === text.charCodeAt(at - 1) || (unit >= 0xd800 && unit <= 0xdfff)) return true;
  }
  return false;
}

/** Words in lower case, the first so many of them. */
export function wordsIn(text: string, most = Infinity): string[] {
  const words: string[] = [];
  const lower = text.toLowerCase();
  for (let at = 0; at < lower.length && words.length < most; ) {
    const start = at;
    for (let size = sizeInWord(lower, at); size > 0 && at < lower.length; size = sizeInWord(lower, at)) at += size;
    if (at === start) at++;
    else words.push(lower.slice(start, at));
  }
  return words;
}

/** By UTF-16 unit: 0 not looked at yet, 1 a letter or digit, 2 neither, 3 the first half of a character. */
const kinds = new Uint8Array(0x1_0000);
const lowers = new Uint16Array(0x1_0000);

/** Units of the letter or digit that stands there; 0: none does. */
function sizeInWord(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  const kind = kinds[unit] || kindOf(unit);
  if (kind === 1) return 1;
  return kind === 3 && /^[\p{L}\p{N}]/u.test(text.slice(at, at + 2)) ? 2 : 0;
}

function kindOf(unit: number): number {
  const kind = unit >= 0xd800 && unit < 0xdc00 ? 3 : /[\p{L}\p{N}]/u.test(String.fromCharCode(unit)) ? 1 : 2;
  if (!Number.isNaN(unit)) kinds[unit] = kind;
  return kind;
}

function lowered(unit: number): number {
  const known = lowers[unit] ?? 0;
  if (known !== 0) return known;
  const lower = String.fromCharCode(unit).toLowerCase();
  return (lowers[unit] = lower.length === 1 ? lower.charCodeAt(0) : unit);
}
