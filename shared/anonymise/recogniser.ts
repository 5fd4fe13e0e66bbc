/**
 * What a recogniser of personal data is: a row of a table. A pattern finds candidates; check digits and words in front decide. Patterns start at a
 * boundary and have bounded repetitions, so that no text makes them slow. Where a row is tried is up to the matcher (matcher.ts).
 */
import { codesOf } from "./triggers.ts";

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
  /** A match has digits: so many from its first one on, or more, with at most three characters between that are no letters. It is tried only where they are. */
  readonly digits?: number;
  /** How many characters of a match may stand before its first digit; default none. */
  readonly lead?: number;
  /** A match begins with one of these words (alternatives of a regular expression): it is tried only there. */
  readonly startsWith?: string;
  /** One of these is in every text that has a match: signs as they are, or parts of words (three Latin letters or more, in any case). */
  readonly onlyWith?: readonly string[];
}

/** What a recogniser needs of a regular expression: a RegExp with the flag g, or an engine that stays linear for patterns that others wrote. */
export interface Pattern {
  readonly source: string;
  lastIndex: number;
  exec(text: string): { readonly 0: string; readonly index: number; readonly groups?: Readonly<Record<string, string>> | undefined } | null;
}

/** Words before a candidate. */
export interface Context {
  /** On the text before a candidate. */
  readonly anywhere: RegExp;
  /** The same from a word's first letter on: sticky. */
  readonly fromWord: RegExp;
  /** Codes of words (triggers.ts) of which one must be there; null: it can't be told. */
  readonly codes: ReadonlySet<number> | null;
}

/** A stretch of text to be replaced. */
export interface Found {
  readonly start: number;
  readonly end: number;
  readonly kind: string;
}

/** How far back a context word may stand. */
export const contextLength = 80;

/** Unicode-aware word boundaries: \b is ASCII and cuts "João" in two. */
export const begin = String.raw`(?<![\p{L}\p{N}_])`;
export const finish = String.raw`(?![\p{L}\p{N}_])`;

/** What may stand between a label and its value: "pedido nº 123", "order number is: #123", "| CPF | 123". No two alternatives begin alike: none is tried twice. */
const link = String.raw`(?:[\s:#\\"'“”*_=(>|\x60-]|n[º°or]?\.|n[º°o]|nr|number|numbers|número|numero|num\.?|id|code|código|cod\.?(?!e)|is|are|é|eh|e|was|foi|era|o|a|da|do|de){0,12}$`;

/** The words directly before the value, with nothing but a link between. @param words alternatives of a regular expression */
export const after = (words: string): Context => contextOf(words, link);

/** The words somewhere before the value in the same sentence; the full stop of an abbreviation ("tel.", "no.") or within a word ("gov.br") ends none. */
export const near = (words: string): Context => contextOf(words, String.raw`\.?(?:[^.!?\n\d]|\.(?!(?<!\b(?:n|no|nr|nº|num)\.)(?!\p{Ll}))){0,40}$`);

/** The same where other values may stand between: "placas ABC1D23 e DEF4G56". */
export const nearDigits = (words: string): Context => contextOf(words, String.raw`[^.!?\n]{0,60}$`);

/** The same where sentences and lines may end between: for shapes that hardly anything else has. */
export const nearLines = (words: string): Context => contextOf(words, String.raw`[\s\S]{0,78}$`);

function contextOf(words: string, rest: string): Context {
  const source = String.raw`(?:${words})(?!\p{L})${rest}`;
  return { anywhere: new RegExp(begin + source, "iu"), fromWord: new RegExp(source, "iuy"), codes: codesOf(words) };
}

/** A pattern between Unicode-aware boundaries. */
export const bounded = (source: string, flags = "") => new RegExp(`${begin}(?:${source})${finish}`, `gu${flags}`);

/** A placeholder, or a part of one: what has been replaced is not found again. */
export function isPlaceholder(text: string): boolean {
  return text.includes("[") || text.includes("]") ? !/[\p{L}\p{N}]/u.test(text.replace(/\[[A-Z0-9_]{2,28}\]?|[A-Z0-9_]{2,28}\]/g, "")) : false;
}
