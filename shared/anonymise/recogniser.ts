/**
 * What a recogniser of personal data is: a row of a table. A pattern finds candidates; check digits and words in front decide. Patterns start at a
 * boundary and have bounded repetitions, so that no text makes them slow.
 */
import { contextLength, hasOneOf, startOf, type Scanned } from "./scan.ts";

export interface Recogniser {
  /** The placeholder's name: [CPF]. */
  readonly kind: string;
  /** Flags g and u. What is replaced is the group `value`, which must end the match, or all of it. */
  readonly pattern: Pattern;
  /** Says whether a candidate is one (check digits, ranges). */
  readonly check?: (value: string) => boolean;
  /** Tested on the text just before the candidate. */
  readonly context?: Context;
  /** What a candidate must have; default: the check where there is one, and the context where there is one. */
  readonly needs?: "either";
  /** A candidate that fails its check is tried again without its last word ("GB82 … 32 then"). */
  readonly shrink?: true;
  /** The least number of digits of a match. Without it the whole text is looked at, with it what is around so many digits. */
  readonly digits?: number;
  /** Characters of a match that may stand before its first digit or after its last; default 40. */
  readonly reach?: number;
  /** Not tried on texts that lack this; saves time. */
  readonly onlyWith?: string | RegExp;
}

/** What a recogniser needs of a regular expression: a RegExp with the flag g, or an engine that stays linear for patterns that others wrote. */
export interface Pattern {
  readonly source: string;
  lastIndex: number;
  exec(text: string): { readonly 0: string; readonly index: number; readonly groups?: Readonly<Record<string, string>> | undefined } | null;
}

export interface Context {
  test(before: string): boolean;
  /** Starts of words (startOf) of which one must be there; null: it can't be told. */
  readonly starts: Uint16Array | null;
}

/** A stretch of text to be replaced. */
export interface Found {
  readonly start: number;
  readonly end: number;
  readonly kind: string;
}

/** Unicode-aware word boundaries: \b is ASCII and cuts "João" in two. */
export const begin = String.raw`(?<![\p{L}\p{N}_])`;
export const finish = String.raw`(?![\p{L}\p{N}_])`;

export { contextLength };

/** What may stand between a label and its value: "pedido nº 123", "order number is: #123", "| CPF | 123". */
const link = String.raw`(?:[\s:#"'“”*_=(>|\x60-]|n[º°o]\.?|n\.|no\.|nr\.?|number|numbers|número|numero|num\.?|id|code|código|cod\.?|is|are|é|eh|e|was|foi|era|o|a|da|do|de){0,12}$`;

/** The words directly before the value, with nothing but a link between. @param words alternatives of a regular expression */
export const after = (words: string): Context => contextOf(words, new RegExp(String.raw`${begin}(?:${words})(?!\p{L})${link}`, "iu"));

/** The words somewhere before the value in the same sentence; the full stop of an abbreviation ("tel.", "no.") ends none. */
export const near = (words: string): Context => contextOf(words, new RegExp(String.raw`${begin}(?:${words})(?!\p{L})\.?(?:[^.!?\n\d]|(?<=\bn|\bno|\bnr|\bnº|\bnum)\.){0,40}$`, "iu"));

/** The same where other values may stand between: "placas ABC1D23 e DEF4G56". */
export const nearDigits = (words: string): Context => contextOf(words, new RegExp(String.raw`${begin}(?:${words})(?!\p{L})[^.!?\n]{0,60}$`, "iu"));

/** A pattern between Unicode-aware boundaries. */
export const bounded = (source: string, flags = "") => new RegExp(`${begin}(?:${source})${finish}`, `gu${flags}`);

const defaultReach = 40;

/** Candidates of one recogniser that hold. */
export function matchesOf(recogniser: Recogniser, scanned: Scanned, found: Found[] = []): Found[] {
  const { onlyWith, digits } = recogniser;
  const { text } = scanned;
  if (onlyWith !== undefined && !(typeof onlyWith === "string" ? text.includes(onlyWith) : onlyWith.test(text))) return found;
  if (digits === undefined) {
    matchIn(recogniser, scanned, text, 0, found);
    return found;
  }
  const needed = neededStarts(recogniser);
  for (const window of scanned.windows(recogniser.reach ?? defaultReach)) {
    if (window.digits < digits || (needed !== null && !hasOneOf(scanned.startsAround(window), needed))) continue;
    matchIn(recogniser, scanned, window.text, window.start, found);
  }
  return found;
}

/** Of the context without which no candidate holds. */
function neededStarts({ check, context, needs }: Recogniser): Uint16Array | null {
  return context === undefined || (check !== undefined && needs === "either") ? null : context.starts;
}

function matchIn(recogniser: Recogniser, scanned: Scanned, part: string, offset: number, found: Found[]): void {
  const { pattern } = recogniser;
  // Not matchAll: it copies the expression each time, which costs more than most searches.
  pattern.lastIndex = 0;
  for (let match = pattern.exec(part); match !== null; match = pattern.exec(part)) {
    const whole = match[0];
    if (whole === "") {
      pattern.lastIndex++;
      continue;
    }
    const value = match.groups?.["value"] ?? whole;
    const start = offset + match.index + whole.length - value.length;
    const length = acceptedLength(recogniser, value, scanned, start);
    if (length > 0 && !isPlaceholder(value.slice(0, length))) found.push({ start, end: start + length, kind: recogniser.kind });
  }
}

/** A placeholder, or a part of one: what has been replaced is not found again. */
export function isPlaceholder(text: string): boolean {
  return text.includes("[") || text.includes("]") ? !/[\p{L}\p{N}]/u.test(text.replace(/\[[A-Z0-9_]{2,28}\]?|[A-Z0-9_]{2,28}\]/g, "")) : false;
}

/** How much of a candidate holds, 0 for nothing. */
function acceptedLength({ check, context, needs, shrink }: Recogniser, value: string, scanned: Scanned, start: number): number {
  const inContext = () => context !== undefined && holds(context, scanned, start);
  if (check === undefined) return context === undefined || inContext() ? value.length : 0;
  for (let rest = value; rest !== ""; rest = /^(.+)\s\S+$/su.exec(rest)?.[1] ?? "") {
    const checked = check(rest);
    if (needs === "either" ? checked || inContext() : checked && (context === undefined || inContext())) return rest.length;
    if (shrink !== true) break;
  }
  return 0;
}

function holds(context: Context, scanned: Scanned, start: number): boolean {
  if (context.starts !== null && !hasOneOf(scanned.startsBefore(start), context.starts)) return false;
  return context.test(scanned.before(start));
}

function contextOf(words: string, pattern: RegExp): Context {
  return { test: (before) => pattern.test(before), starts: startsOfAlternatives(words) };
}

/** The first letters of each alternative, as far as they are plain; null if one begins with anything else. */
function startsOfAlternatives(words: string): Uint16Array | null {
  const starts = new Set<number>();
  for (const alternative of topLevel(words)) {
    // The letter before a "?" may be missing.
    const literal = /^[\p{L}\p{M}]*/u.exec(alternative.replace(/^\\b/, ""))?.[0] ?? "";
    const sure = /^[?{]/.test(alternative.slice(literal.length)) ? literal.slice(0, -1) : literal;
    const start = startOf(sure);
    if (start === null) return null;
    starts.add(start);
  }
  return Uint16Array.from(starts);
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
