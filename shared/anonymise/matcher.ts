/**
 * All recognisers at once on one text: each is tried only at the places where a match could begin, which the scan has found in one go. Rows that say nothing
 * about where their matches are (a user's) are tried on the whole text.
 */
import { isLetterOrNumber, kindAt } from "./characters.ts";
import { begin, contextLength, isPlaceholder, type Context, type Found, type Recogniser } from "./recogniser.ts";
import { Scan, scanInto, wanted, type Wanted } from "./scan.ts";
import { codesOf } from "./triggers.ts";

/** A recogniser as it is run. */
interface Row {
  /** Its place in the table: where two find the same, the lower names it. */
  readonly rank: number;
  readonly recogniser: Recogniser;
  /** The pattern at one place. */
  readonly sticky: RegExp;
  readonly digits: number;
  readonly lead: number;
  /** Of its context in `contexts`; -1: none. */
  readonly context: number;
}

/** Rows that nearly every number would be tried with, and all of them as one expression: where it finds nothing, none of them does. */
interface Common {
  readonly rows: readonly Row[];
  readonly any: RegExp;
  readonly lead: number;
}

interface Whole {
  readonly rank: number;
  readonly recogniser: Recogniser;
  readonly context: number;
  readonly signs: readonly string[];
  readonly parts: readonly number[];
}

/** What a word of the text is for: contexts that it may belong to, rows whose matches may begin with it. */
interface Mark {
  readonly contexts: readonly number[];
  readonly rows: readonly Row[];
}

export interface Ranked extends Found {
  readonly rank: number;
}

export interface Matcher {
  /** What all recognisers found, by rank. */
  find(text: string): Ranked[];
  /** Of the text that find has just seen. */
  readonly scan: Scan;
}

/** More digits than this in a row make no difference to which rows are tried. */
const mostDigits = 20;
/** A row that makes do with so many would be tried at nearly every number. */
const fewDigits = 4;

/** @param parts of words that the scan is to look for besides */
export function createMatcher(recognisers: readonly Recogniser[], parts: readonly string[] = []): Matcher {
  return new TableMatcher(recognisers, parts);
}

class TableMatcher implements Matcher {
  readonly scan = new Scan();
  readonly #wanted: Wanted;
  readonly #contexts: Context[] = [];
  readonly #marks: Mark[] = [{ contexts: [], rows: [] }];
  readonly #whole: Whole[] = [];
  /** Rows that need no context, by how many digits there are, but for those that make do with few. */
  readonly #free: Row[][] = Array.from({ length: mostDigits + 1 }, () => []);
  readonly #common: Common[] = [];
  /** Rows that need one, by context. */
  readonly #bound: Row[][] = [];
  /** By rank: where a row may match again. */
  readonly #next: Int32Array;
  /** By context: the place it was last asked about, and the answer. */
  readonly #asked: Int32Array;
  readonly #answer: Uint8Array;
  /** Contexts a word of which stands before the present number: 1 for each, and a list of them. */
  readonly #around: Uint8Array;
  readonly #near: number[] = [];
  /** Where a match that has the present number in it could begin, in order. */
  readonly #starts = new Int32Array(longestLead + 1);
  #startCount = 0;
  readonly #always: readonly number[];
  #found: Ranked[] = [];
  /** The text before the place that contexts were last asked about. */
  #beforeAt = -1;
  #before = "";

  constructor(recognisers: readonly Recogniser[], extraParts: readonly string[]) {
    const parts = [...extraParts];
    const contextsByCode = new Map<number, Set<number>>();
    const rowsByCode = new Map<number, Row[]>();
    const common: Row[] = [];
    for (const [rank, recogniser] of recognisers.entries()) {
      const { pattern, digits, lead = 0, startsWith, check, needs } = recogniser;
      if (lead > longestLead) throw new RangeError(`${recogniser.kind}: a lead is ${longestLead} at most`);
      const context = this.#numberOf(recogniser.context, contextsByCode);
      if (!(pattern instanceof RegExp) || (digits === undefined && startsWith === undefined)) {
        const signs = (recogniser.onlyWith ?? []).filter((text) => !isPart(text));
        this.#whole.push({ rank, recogniser, context, signs, parts: (recogniser.onlyWith ?? []).filter(isPart).map((part) => numberIn(parts, part)) });
        continue;
      }
      const row: Row = { rank, recogniser, sticky: new RegExp(sourceAt(pattern.source), pattern.flags.replace("g", "y")), digits: digits ?? 0, lead, context };
      if (startsWith !== undefined) {
        const codes = codesOf(startsWith);
        if (codes === null) throw new RangeError(`${recogniser.kind}: ${startsWith} must be words of Latin letters`);
        for (const code of codes) rowsByCode.set(code, [...(rowsByCode.get(code) ?? []), row]);
      } else if (context < 0 || (check !== undefined && needs === "either")) {
        if (row.digits <= fewDigits) common.push(row);
        else for (let count = row.digits; count <= mostDigits; count++) this.#free[count]?.push(row);
      } else this.#bound[context]?.push(row);
    }
    const marks = new Map<number, number>();
    for (const code of new Set([...contextsByCode.keys(), ...rowsByCode.keys()])) marks.set(code, this.#markOf([...(contextsByCode.get(code) ?? [])], rowsByCode.get(code) ?? []));
    this.#wanted = wanted(marks, parts);
    for (const flags of new Set(common.map(({ sticky }) => sticky.flags))) this.#common.push(commonOf(common.filter(({ sticky }) => sticky.flags === flags), flags));
    this.#next = new Int32Array(recognisers.length);
    this.#asked = new Int32Array(this.#contexts.length);
    this.#answer = new Uint8Array(this.#contexts.length);
    this.#around = new Uint8Array(this.#contexts.length);
    this.#always = this.#contexts.flatMap(({ codes }, number) => (codes === null ? [number] : []));
  }

  #numberOf(context: Context | undefined, byCode: Map<number, Set<number>>): number {
    if (context === undefined) return -1;
    const known = this.#contexts.indexOf(context);
    if (known >= 0) return known;
    const number = this.#contexts.push(context) - 1;
    this.#bound.push([]);
    for (const code of context.codes ?? []) byCode.set(code, (byCode.get(code) ?? new Set()).add(number));
    return number;
  }

  /** Words that are for the same have the same mark. */
  #markOf(contexts: readonly number[], rows: readonly Row[]): number {
    const same = this.#marks.findIndex((mark) => isSame(mark.contexts, contexts) && isSame(mark.rows, rows));
    return same >= 0 ? same : this.#marks.push({ contexts, rows }) - 1;
  }

  find(text: string): Ranked[] {
    const { scan } = this;
    scanInto(scan, text, this.#wanted);
    this.#found = [];
    this.#asked.fill(-1);
    this.#beforeAt = -1;
    for (const whole of this.#whole) if (isPossible(whole, scan)) this.#searchAll(whole);
    if (scan.numbers.length > 0 || scan.words.length > 0) {
      this.#next.fill(0);
      this.#tryWords();
      this.#tryNumbers();
    }
    const found = this.#found;
    this.#found = [];
    return found.length < 2 ? found : found.sort((a, b) => a.rank - b.rank || a.start - b.start);
  }

  #searchAll({ rank, recogniser, context }: Whole): void {
    const { text } = this.scan;
    const { pattern } = recogniser;
    // Not matchAll: it copies the expression each time, which costs more than most searches.
    pattern.lastIndex = 0;
    for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
      if (match[0] === "") pattern.lastIndex++;
      else this.#accept(rank, recogniser, context, match[0], match.groups?.["value"] ?? match[0], match.index);
    }
  }

  #tryWords(): void {
    const { words, marks } = this.scan;
    for (let index = 0; index < words.length; index++) {
      const rows = this.#marks[marks.at(index)]?.rows;
      if (rows !== undefined) for (const row of rows) this.#tryAt(row, words.at(index));
    }
  }

  #tryNumbers(): void {
    const { text, numbers, numberEnds, digits, words } = this.scan;
    let word = 0;
    for (let index = 0; index < numbers.length; index++) {
      const at = numbers.at(index);
      const count = Math.min(digits.at(index), mostDigits);
      const after = index === 0 ? 0 : numberEnds.at(index - 1);
      this.#noteStarts(text, at, after);
      for (const each of this.#common) this.#tryCommon(each, text, at, count);
      const free = this.#free[count];
      if (free !== undefined) for (const row of free) this.#tryBefore(row, at);
      while (word < words.length && words.at(word) < at) word++;
      this.#tryBound(word, at, count);
    }
  }

  /** @param at of the number @param after where the number before ends */
  #noteStarts(text: string, at: number, after: number): void {
    let count = 0;
    for (let start = Math.max(after, at - longestLead); start <= at; start++) if (mayBeginAt(text, start)) this.#starts[count++] = start;
    this.#startCount = count;
  }

  #tryCommon({ rows, any, lead }: Common, text: string, at: number, count: number): void {
    for (let index = 0; index < this.#startCount; index++) {
      const start = this.#starts[index] ?? 0;
      if (start < at - lead) continue;
      any.lastIndex = start;
      if (any.test(text)) for (const row of rows) if (row.digits <= count && start >= at - row.lead) this.#tryAt(row, start);
    }
  }

  /** Rows with a context of which a word stands before the number. @param word the first one behind it */
  #tryBound(word: number, at: number, count: number): void {
    const { words, marks } = this.scan;
    for (const context of this.#always) this.#noteNear(context);
    for (let index = word - 1; index >= 0 && words.at(index) >= at - contextLength - longestLead; index--) {
      const contexts = this.#marks[marks.at(index)]?.contexts;
      if (contexts !== undefined) for (const context of contexts) this.#noteNear(context);
    }
    for (const context of this.#near) {
      this.#around[context] = 0;
      const rows = this.#bound[context];
      if (rows !== undefined) for (const row of rows) if (row.digits <= count) this.#tryBefore(row, at);
    }
    this.#near.length = 0;
  }

  #noteNear(context: number): void {
    if (this.#around[context] === 1) return;
    this.#around[context] = 1;
    this.#near.push(context);
  }

  /** At each place where a match could begin whose first digit is at `at`. */
  #tryBefore(row: Row, at: number): void {
    for (let index = 0; index < this.#startCount; index++) {
      const start = this.#starts[index] ?? 0;
      if (start >= at - row.lead) this.#tryAt(row, start);
    }
  }

  #tryAt(row: Row, start: number): void {
    const { rank, recogniser, sticky } = row;
    if (start < (this.#next[rank] ?? 0)) return;
    sticky.lastIndex = start;
    const match = sticky.exec(this.scan.text);
    if (match === null) return;
    this.#next[rank] = start + match[0].length;
    this.#accept(rank, recogniser, row.context, match[0], match.groups?.["value"] ?? match[0], start);
  }

  #accept(rank: number, recogniser: Recogniser, context: number, whole: string, value: string, at: number): void {
    const start = at + whole.length - value.length;
    const length = this.#acceptedLength(recogniser, context, value, start);
    if (length > 0 && !isNobodys(value.slice(0, length))) this.#found.push({ start, end: start + length, kind: recogniser.kind, rank });
  }

  /** How much of a candidate holds, 0 for nothing. */
  #acceptedLength({ check, needs, shrink }: Recogniser, context: number, value: string, start: number): number {
    if (check === undefined) return context < 0 || this.#holds(context, start) ? value.length : 0;
    for (let rest = value; rest !== ""; rest = /^(.+)\s\S+$/su.exec(rest)?.[1] ?? "") {
      const checked = check(rest);
      if (needs === "either" ? checked || (context >= 0 && this.#holds(context, start)) : checked && (context < 0 || this.#holds(context, start))) return rest.length;
      if (shrink !== true) break;
    }
    return 0;
  }

  #holds(number: number, start: number): boolean {
    if (this.#asked[number] === start) return this.#answer[number] === 1;
    const context = this.#contexts[number];
    const answer = context !== undefined && this.#looksBack(context, number, start);
    this.#asked[number] = start;
    this.#answer[number] = answer ? 1 : 0;
    return answer;
  }

  #looksBack(context: Context, number: number, start: number): boolean {
    const { text, words, marks } = this.scan;
    const from = Math.max(0, start - contextLength);
    if (this.#beforeAt !== start) [this.#beforeAt, this.#before] = [start, text.slice(from, start)];
    if (context.codes === null) return context.anywhere.test(this.#before);
    for (let index = words.lastBefore(start); index >= 0 && words.at(index) >= from; index--) {
      if (this.#marks[marks.at(index)]?.contexts.includes(number) !== true) continue;
      context.fromWord.lastIndex = words.at(index) - from;
      if (context.fromWord.test(this.#before)) return true;
    }
    return false;
  }
}

/** No row has a longer lead: so much further before a number than a context reaches may a context's word stand, and so far before it is looked for a match's beginning. */
const longestLead = 40;

/** A placeholder, or nine digits and more that are all the same: (99) 99999-9999 is a form's example. */
function isNobodys(value: string): boolean {
  return isPlaceholder(value) || (value.length >= 9 && /^[^\p{L}\d]*(\d)(?:[^\p{L}\d]*\1){8,}[^\p{L}\d]*$/u.test(value));
}

const mayBeginAt = (text: string, start: number) => start === 0 || (kindAt(text, start - 1) & isLetterOrNumber) === 0;

/** The expression for a place before which stands no letter or number, as whoever tries it has seen: to look again would take longer than most expressions. */
const sourceAt = (source: string) => (source.startsWith(begin) ? `(?<!_)${source.slice(begin.length)}` : source);

function commonOf(rows: readonly Row[], flags: string): Common {
  // Two groups of one expression can't have one name.
  const sources = rows.map(({ sticky }) => sticky.source.replaceAll("(?<value>", "(?:"));
  return { rows, any: new RegExp(sources.map((source) => `(?:${source})`).join("|"), flags), lead: Math.max(...rows.map(({ lead }) => lead)) };
}

const isPart = (text: string) => /^\p{L}{3,}$/u.test(text);

function numberIn(list: string[], item: string): number {
  const known = list.indexOf(item);
  return known >= 0 ? known : list.push(item) - 1;
}

const isSame = (a: readonly unknown[], b: readonly unknown[]) => a.length === b.length && a.every((item, index) => item === b[index]);

/** Whether one of the things without which it finds nothing is in the text. */
function isPossible({ signs, parts }: Whole, { text, signs: present, seen }: Scan): boolean {
  if (signs.length === 0 && parts.length === 0) return true;
  for (const part of parts) if (seen[part] === 1) return true;
  for (const sign of signs) if (present[sign.charCodeAt(0)] === 1 && (sign.length === 1 || text.includes(sign))) return true;
  return false;
}
