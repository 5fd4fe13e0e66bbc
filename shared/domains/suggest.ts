/** Words that set a domain's rows apart, by log-odds with an informative Dirichlet prior (Monroe, Colaresi, Quinn 2008: "Fightin' Words"). */
import { readRows, rowsPath } from "../datasets/rows.ts";
import { explain } from "./classify.ts";
import type { Domain } from "./domains.ts";
import { spokenWords } from "./spoken.ts";
import type { Word } from "./words.ts";

export interface Suggestion {
  /** As it is written most often. */
  readonly word: string;
  /** Rows of the domain, and of all others, that have it. */
  readonly rows: number;
  readonly elsewhere: number;
  /** Standard deviations above chance. */
  readonly z: number;
}

const mostRows = 20_000;
/** Below this a word may be chance (two-sided 0.1 %). */
const leastZ = 3.3;
const leastRows = 3;

/** @param count most suggestions; words that are keywords of the domain already are left out */
export async function suggestKeywords(trainingData: string, domain: Domain, domains: readonly Domain[], count: number): Promise<Suggestion[]> {
  const own = new Map<string, number>();
  const others = new Map<string, number>();
  const spellings = new Map<string, Map<string, number>>();
  for (const { name } of domains) {
    const counts = name === domain.name ? own : others;
    let rows = 0;
    for await (const row of readRows(rowsPath(trainingData, name))) {
      if (++rows > mostRows) break;
      for (const [key, spelling] of keysIn(spokenWords(row.messages))) {
        counts.set(key, (counts.get(key) ?? 0) + 1);
        const seen = spellings.get(key) ?? new Map<string, number>();
        spellings.set(key, seen.set(spelling, (seen.get(spelling) ?? 0) + 1));
      }
    }
  }
  const sum = (counts: ReadonlyMap<string, number>) => [...counts.values()].reduce((total, value) => total + value, 0);
  const [ownTotal, otherTotal] = [sum(own), sum(others)];
  const suggestions: Suggestion[] = [];
  for (const [key, rows] of own) {
    const elsewhere = others.get(key) ?? 0;
    const word = mostFrequent(spellings.get(key));
    if (rows < leastRows || isKeyword(word, domain)) continue;
    // The prior: the word's share of all words, as if 1,000 more had been read.
    const prior = (1_000 * (rows + elsewhere)) / (ownTotal + otherTotal);
    const logOdds = (times: number, total: number) => Math.log((times + prior) / (total + 1_000 - times - prior));
    const z = (logOdds(rows, ownTotal) - logOdds(elsewhere, otherTotal)) / Math.sqrt(1 / (rows + prior) + 1 / (elsewhere + prior));
    if (z >= leastZ) suggestions.push({ word, rows, elsewhere, z });
  }
  return suggestions.sort((a, b) => b.z - a.z).slice(0, count);
}

/** Each word of a row once, by its key without inflections. */
function keysIn(words: readonly Word[]): Map<string, string> {
  const keys = new Map<string, string>();
  for (const { lexeme } of words) if (lexeme.text.length >= 4 && /^\p{L}+$/u.test(lexeme.text)) keys.set(lexeme.exact, lexeme.text);
  return keys;
}

const mostFrequent = (seen: ReadonlyMap<string, number> | undefined) => [...(seen ?? [])].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
const isKeyword = (word: string, domain: Domain) => explain(word, [domain]).evidence.length > 0;
