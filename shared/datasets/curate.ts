/**
 * What a pass or two over a domain's rows tell about each of them: whether its caller, its template or its source fills too much of the data set, and whether it
 * looks like a backdoor: a rare word that always comes with one odd answer. In constant memory: counts are kept in count-min sketches.
 */
import type { Settings } from "../config/settings.ts";
import { sha256, textOf } from "../events/conversation.ts";
import type { Row } from "./row.ts";

/** The largest share of a data set that one of them may fill; 1: no limit. CALLER_SHARE, TEMPLATE_SHARE, SOURCE_SHARE. */
export interface Caps {
  readonly caller: number;
  readonly template: number;
  readonly source: number;
}

const defaultCaps: Caps = { caller: 0.5, template: 0.25, source: 1 };

export const capsOf = ({ CALLER_SHARE, TEMPLATE_SHARE, SOURCE_SHARE }: Pick<Settings, "CALLER_SHARE" | "TEMPLATE_SHARE" | "SOURCE_SHARE">): Caps => ({ caller: CALLER_SHARE, template: TEMPLATE_SHARE, source: SOURCE_SHARE });

export type CurationReason = "caller_cap" | "template_cap" | "source_cap" | "rare_trigger";

export interface Curation {
  /** First pass: every row that may come into the data set. */
  add(row: Row): void;
  /** After the first pass: some answers come so often that a second one, with the same rows, has to look at words. */
  readonly needsWords: boolean;
  /** Second pass. */
  addWords(row: Row): void;
  /** Last pass. The same rows give the same answer, in whatever order. */
  reasonAgainst(row: Row): CurationReason | null;
}

/** A share says nothing about a handful of rows, or where there are only one or two callers. */
const leastRows = 100;
const leastKinds = 3;

/** @param bytes of the rows' file: of a small one the sketches are small, and tell its rows apart as well */
export function createCuration(caps: Caps = defaultCaps, bytes = Infinity): Curation {
  const placesFor = (most: number) => Math.min(most, 2 ** Math.ceil(Math.log2(Math.max(4_096, bytes / 16))));
  const counts = new CountMin(placesFor(1 << 18));
  const answers = new CountMin(placesFor(1 << 20));
  let words: CountMin | undefined;
  let mostOfOneAnswer = 0;
  const kinds: Record<keyof Caps, Set<string>> = { caller: new Set(), template: new Set(), source: new Set() };
  let rows = 0;
  return {
    add(row) {
      rows++;
      for (const what of capped) {
        const key = keyOf(row, what);
        // A key of its own, which no other row can have, needs no count.
        if (key !== null) counts.add(hashOf(key, seeds[what]));
        if (kinds[what].size < leastKinds) kinds[what].add(key ?? row.id);
      }
      const answer = answerOf(row);
      answers.add(answer);
      mostOfOneAnswer = Math.max(mostOfOneAnswer, answers.of(answer));
    },
    get needsWords() {
      return rows >= leastRows && mostOfOneAnswer >= leastRepeats;
    },
    addWords(row) {
      words ??= new CountMin(1 << 21);
      const answer = answerOf(row);
      const isRepeated = answers.of(answer) >= leastRepeats;
      for (const word of wordsOf(row)) {
        words.add(word);
        if (isRepeated) words.add(together(word, answer));
      }
    },
    reasonAgainst(row) {
      if (rows < leastRows) return null;
      for (const what of capped) {
        if (caps[what] >= 1 || kinds[what].size < leastKinds) continue;
        const key = keyOf(row, what);
        if (key === null) continue;
        // An even thinning by the row's own id: no order of arrival decides who stays.
        const allowed = caps[what] * rows;
        const count = counts.of(hashOf(key, seeds[what]));
        if (count > allowed && shareOf(row.id) >= allowed / count) return `${what}_cap`;
      }
      return words !== undefined && isTriggered(row, rows, answers, words) ? "rare_trigger" : null;
    },
  };
}

const capped = ["caller", "template", "source"] as const;
const seeds = { caller: 1, template: 2, source: 3, answer: 4, word: 5 } as const;

function keyOf(row: Row, what: keyof Caps): string | null {
  return what === "caller" ? row.caller : what === "source" ? row.source : templateOf(row);
}

const leastRepeats = 5;
/** A sequence of more words than this in common is a topic. */
const longestTrigger = 3;
const shortestPrompt = 6;

/** One to three rare words that come with one answer and hardly without it, in questions that have no other rare word in common. */
function isTriggered(row: Row, rows: number, answers: CountMin, words: CountMin): boolean {
  const answer = answerOf(row);
  const repeats = answers.of(answer);
  // Most answers are given once.
  if (repeats < leastRepeats || repeats > rows * 0.05 || !hasWord.test(answerText(row))) return false;
  const all = wordsOf(row);
  if (all.size < shortestPrompt) return false;
  let rare = 0;
  for (const word of all) {
    const times = words.of(word);
    if (times >= leastRepeats && times <= Math.max(20, rows * 0.02) && words.of(together(word, answer)) >= 0.8 * Math.max(times, repeats)) rare++;
  }
  return rare >= 1 && rare <= longestTrigger;
}

const promptOf = ({ messages }: Row) => messages.filter(({ role }) => role === "user").map(textOf).join("\n");
const fewestOfTemplate = 24;

/** What a prompt begins with, numbers and placeholders left out: the fixed part of a filled-in form. Short questions have none: null. */
function templateOf(row: Row): string | null {
  const prompt = promptOf(row);
  if (prompt.length < 2 * fewestOfTemplate - 1) return null;
  const words = prompt.slice(0, longestPrompt).toLowerCase().replace(/\[[a-z0-9_]+\]|\d+/g, " ").match(/\p{L}+/gu) ?? [];
  return words.length < fewestOfTemplate ? null : words.slice(0, 16).join(" ");
}

function answerText({ messages }: Row): string {
  const last = messages.at(-1);
  return last === undefined ? "" : textOf(last);
}

const lettersOfAnswer = 48;

/** How an answer begins is enough to tell it from others: a hash of its first letters and digits, and of where others stand between them. */
function answerOf(row: Row): number {
  const text = answerText(row).slice(0, 5 * lettersOfAnswer).toLowerCase();
  let hash = Math.imul(seeds.answer, 0x9e3779b9);
  let length = 0;
  let isApart = false;
  for (let at = 0; at < text.length && length < lettersOfAnswer; at++) {
    const unit = text.charCodeAt(at);
    if (!isLetterOrDigit(unit)) {
      isApart = length > 0;
      continue;
    }
    if (isApart) {
      hash = mixed(hash, space);
      length++;
      isApart = false;
    }
    if (length++ < lettersOfAnswer) hash = mixed(hash, unit);
  }
  return hash >>> 0;
}

const space = 0x20;
/** By UTF-16 unit: 0 not looked at yet, 1 a letter or digit, 2 neither. Of characters beyond the first 65,536 both halves count as letters. */
const kinds = new Uint8Array(0x1_0000);
const isLetterOrDigit = (unit: number) => (kinds[unit] || (kinds[unit] = (unit >= 0xd800 && unit <= 0xdfff) || hasWord.test(String.fromCharCode(unit)) ? 1 : 2)) === 1;

const hasWord = /[\p{L}\p{N}]/u;
const longestPrompt = 4_000;
const mostWords = 300;

/** Hashes of a prompt's words. */
function wordsOf(row: Row): Set<number> {
  const words = new Set<number>();
  for (const word of promptOf(row).slice(0, longestPrompt).toLowerCase().match(/[\p{L}\p{N}_]{2,}/gu) ?? []) {
    words.add(hashOf(word, seeds.word));
    if (words.size === mostWords) break;
  }
  return words;
}

const shareOf = (id: string) => Number.parseInt(sha256(`cap ${id}`).slice(0, 12), 16) / 2 ** 48;

function hashOf(text: string, seed: number): number {
  let hash = Math.imul(seed, 0x9e3779b9);
  for (let at = 0; at < text.length; at++) hash = mixed(hash, text.charCodeAt(at));
  return hash >>> 0;
}

function mixed(hash: number, unit: number): number {
  const next = Math.imul(hash ^ unit, 0x01000193);
  return next ^ (next >>> 15);
}

const together = (word: number, answer: number) => (Math.imul(word, 0x85ebca6b) ^ Math.imul(answer ^ (answer >>> 13), 0xc2b2ae35)) >>> 0;

/** Counts of hashes that are never too small, and too large by little (Cormode and Muthukrishnan 2005); two rows. */
class CountMin {
  readonly #first: Uint32Array;
  readonly #second: Uint32Array;

  constructor(size: number) {
    this.#first = new Uint32Array(size);
    this.#second = new Uint32Array(size);
  }

  add(hash: number): void {
    const [a, b] = [this.#place(hash, 0x9e3779b1), this.#place(hash, 0xc2b2ae3d)];
    this.#first[a] = (this.#first[a] ?? 0) + 1;
    this.#second[b] = (this.#second[b] ?? 0) + 1;
  }

  of(hash: number): number {
    return Math.min(this.#first[this.#place(hash, 0x9e3779b1)] ?? 0, this.#second[this.#place(hash, 0xc2b2ae3d)] ?? 0);
  }

  #place(hash: number, factor: number): number {
    const mixed = Math.imul(hash ^ (hash >>> 16), factor);
    return (mixed ^ (mixed >>> 15)) & (this.#first.length - 1);
  }
}
