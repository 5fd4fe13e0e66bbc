/**
 * What a recogniser of personal data is: a row of a table. A pattern finds candidates; check digits and words in front decide. Patterns start at a
 * boundary and have bounded repetitions, so that no text makes them slow.
 */
export interface Recogniser {
  /** The placeholder's name: [CPF]. */
  readonly kind: string;
  /** Flags g and u. What is replaced is the group `value`, which must end the match, or all of it. */
  readonly pattern: RegExp;
  /** Says whether a candidate is one (check digits, ranges). */
  readonly check?: (value: string) => boolean;
  /** Tested on the text just before the candidate; built by `near` or `after`. */
  readonly context?: RegExp;
  /** What a candidate must have; default: the check where there is one, and the context where there is one. */
  readonly needs?: "either";
  /** A candidate that fails its check is tried again without its last word ("GB82 … 32 then"). */
  readonly shrink?: true;
  /** Not tried on texts that lack this; saves time. */
  readonly onlyWith?: RegExp;
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

/** How far back a context word may stand. */
export const contextLength = 80;

/** What may stand between a label and its value: "pedido nº 123", "order number is: #123". */
const link = String.raw`(?:[\s:#"'“”*_=(>|-]|n[º°o]\.?|n\.|no\.|nr\.?|number|numbers|número|numero|num\.?|id|code|código|cod\.?|is|are|é|eh|was|foi|era|o|a){0,12}$`;

/** The words directly before the value, with nothing but a link between. @param words alternatives of a regular expression */
export const after = (words: string) => new RegExp(`${begin}(?:${words})${link}`, "iu");

/** The words somewhere before the value in the same sentence; the full stop of an abbreviation ("tel.", "no.") ends none. */
export const near = (words: string) => new RegExp(String.raw`${begin}(?:${words})\.?(?:[^.!?\n\d]|(?<=\bn|\bno|\bnr|\bnº|\bnum)\.){0,40}$`, "iu");

/** A pattern between Unicode-aware boundaries. */
export const bounded = (source: string, flags = "") => new RegExp(`${begin}(?:${source})${finish}`, `gu${flags}`);

/** Candidates of one recogniser that hold. */
export function* matchesOf(recogniser: Recogniser, text: string): Generator<Found> {
  if (recogniser.onlyWith !== undefined && !recogniser.onlyWith.test(text)) return;
  for (const match of text.matchAll(recogniser.pattern)) {
    const value = match.groups?.["value"] ?? match[0];
    const end = match.index + match[0].length;
    const start = end - value.length;
    const length = acceptedLength(recogniser, value, () => text.slice(Math.max(0, start - contextLength), start));
    if (length > 0 && !isPlaceholder(value.slice(0, length))) yield { start, end: start + length, kind: recogniser.kind };
  }
}

/** A placeholder, or a part of one: what has been replaced is not found again. */
export function isPlaceholder(text: string): boolean {
  return text.includes("[") || text.includes("]") ? !/[\p{L}\p{N}]/u.test(text.replace(/\[[A-Z0-9_]{2,20}\]?|[A-Z0-9_]{2,20}\]/g, "")) : false;
}

/** How much of a candidate holds, 0 for nothing. */
function acceptedLength(recogniser: Recogniser, value: string, before: () => string): number {
  const { check, context, needs, shrink } = recogniser;
  const inContext = context === undefined ? null : context.test(before());
  if (check === undefined) return inContext === false ? 0 : value.length;
  for (let rest = value; rest !== ""; rest = /^(.+)\s\S+$/su.exec(rest)?.[1] ?? "") {
    const checked = check(rest);
    if (needs === "either" ? checked || inContext === true : checked && inContext !== false) return rest.length;
    if (shrink !== true) break;
  }
  return 0;
}
