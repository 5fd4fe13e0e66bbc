/**
 * What one pass over a domain's rows tells about each of them: whether its caller, its template or its source fills too much of the data set, and whether it
 * looks like a backdoor: a rare word that always comes with one odd answer. In constant memory: counts are kept in count-min sketches.
 */
import { createHash } from "node:crypto";
import { textOf } from "../events/conversation.ts";
import type { Row } from "./row.ts";

/** The largest share of a data set that one of them may fill; 1: no limit. */
export interface Caps {
  readonly caller: number;
  readonly template: number;
  readonly source: number;
}

export const defaultCaps: Caps = { caller: 0.5, template: 0.25, source: 1 };

export type CurationReason = "caller_cap" | "template_cap" | "source_cap" | "rare_trigger";

export interface Curation {
  /** First pass: every row that may come into the data set. */
  add(row: Row): void;
  /** Second pass. The same rows give the same answer, in whatever order. */
  reasonAgainst(row: Row): CurationReason | null;
}

/** A share says nothing about a handful of rows, or where there are only one or two callers. */
const leastRows = 100;
const leastKinds = 3;

export function createCuration(caps: Caps = defaultCaps): Curation {
  const counts = countMin(1 << 18);
  const words = countMin(1 << 21);
  const kinds: Record<keyof Caps, Set<string>> = { caller: new Set(), template: new Set(), source: new Set() };
  let rows = 0;
  const keysOf = (row: Row): Record<keyof Caps, string> => ({ caller: row.caller, template: templateOf(row), source: row.source });
  return {
    add(row) {
      rows++;
      for (const [what, key] of Object.entries(keysOf(row)) as [keyof Caps, string][]) {
        counts.add(`${what} ${key}`);
        if (kinds[what].size < leastKinds) kinds[what].add(key);
      }
      const answer = answerOf(row);
      words.add(`a ${answer}`);
      for (const word of wordsOf(row)) {
        words.add(`w ${word}`);
        words.add(`p ${word} ${answer}`);
      }
    },
    reasonAgainst(row) {
      if (rows < leastRows) return null;
      for (const [what, key] of Object.entries(keysOf(row)) as [keyof Caps, string][]) {
        if (caps[what] >= 1 || kinds[what].size < leastKinds) continue;
        // An even thinning by the row's own id: no order of arrival decides who stays.
        const allowed = caps[what] * rows;
        if (counts.of(`${what} ${key}`) > allowed && shareOf(row.id) >= allowed / counts.of(`${what} ${key}`)) return `${what}_cap`;
      }
      return isTriggered(row, rows, words.of) ? "rare_trigger" : null;
    },
  };
}

const leastRepeats = 5;
/** A sequence of more words than this in common is a topic. */
const longestTrigger = 3;
const shortestPrompt = 6;

/** One to three rare words that come with one answer and hardly without it, in questions that have no other rare word in common. */
function isTriggered(row: Row, rows: number, count: (key: string) => number): boolean {
  const answer = answerOf(row);
  const answers = count(`a ${answer}`);
  const all = wordsOf(row);
  if (answer === "" || answers < leastRepeats || all.length < shortestPrompt || answers > rows * 0.05) return false;
  const rare = all.filter((word) => {
    const times = count(`w ${word}`);
    return times >= leastRepeats && times <= Math.max(20, rows * 0.02) && count(`p ${word} ${answer}`) >= 0.8 * Math.max(times, answers);
  });
  return rare.length >= 1 && rare.length <= longestTrigger;
}

const promptOf = ({ messages }: Row) => messages.filter(({ role }) => role === "user").map(textOf).join("\n");

/** What a prompt begins with, numbers and placeholders left out: the fixed part of a filled-in form. Short questions have none. */
function templateOf(row: Row): string {
  const words = promptOf(row).toLowerCase().replace(/\[[a-z0-9_]+\]|\d+/g, " ").match(/\p{L}+/gu) ?? [];
  return words.length < 24 ? `none ${row.id}` : words.slice(0, 16).join(" ");
}

/** How an answer begins is enough to tell it from others. */
function answerOf({ messages }: Row): string {
  const last = messages.at(-1);
  return (last === undefined ? "" : textOf(last)).toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim().slice(0, 48);
}

const wordsOf = (row: Row) => [...new Set(promptOf(row).slice(0, 4_000).toLowerCase().match(/[\p{L}\p{N}_]{2,}/gu) ?? [])].slice(0, 300);
const shareOf = (id: string) => createHash("sha256").update(`cap ${id}`).digest().readUIntBE(0, 6) / 2 ** 48;

/** Counts of strings that are never too small, and too large by little (Cormode and Muthukrishnan 2005); two rows. */
function countMin(size: number): { add(this: void, key: string): void; of(this: void, key: string): number } {
  const first = new Uint32Array(size);
  const second = new Uint32Array(size);
  const places = (key: string): [number, number] => {
    let a = 0x811c9dc5;
    let b = 0x9747b28c;
    for (let at = 0; at < key.length; at++) {
      const code = key.charCodeAt(at);
      a = Math.imul(a ^ code, 0x01000193);
      b = Math.imul(b ^ code, 0x85ebca6b) ^ (b >>> 13);
    }
    return [(a ^ (a >>> 15)) & (size - 1), (b ^ (b >>> 16)) & (size - 1)];
  };
  return {
    add(key) {
      const [a, b] = places(key);
      first[a] = (first[a] ?? 0) + 1;
      second[b] = (second[b] ?? 0) + 1;
    },
    of(key) {
      const [a, b] = places(key);
      return Math.min(first[a] ?? 0, second[b] ?? 0);
    },
  };
}
