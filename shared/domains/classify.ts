/**
 * Which domain a text belongs to, by weighted keywords. Pure, deterministic, well under a millisecond for a question. It abstains to `general`
 * when no domain scores enough or two are too close: a wrong adapter is worse than none. Where keywords are in doubt, the classifier that was trained on the
 * rows sorted so far decides, if there is one and it is sure.
 */
import { classifierOf } from "./classifier_file.ts";
import type { Domain } from "./domains.ts";
import { fallbackDomain } from "./fallback.ts";
import { detectLanguage, type Language } from "./language.ts";
import { predictWords } from "./naive_bayes.ts";
import { negatedPlaces } from "./negation.ts";
import { entryOf, fits, noEntry, tableOf, type Entry, type Term } from "./terms.ts";
import { wordsOf, type Word } from "./words.ts";

export { fallbackDomain };

export interface Classification {
  readonly domain: string;
  /** Sum of the weights of what was found for the best domain. */
  readonly score: number;
  /** No domain was sure enough; `domain` is then `general`. */
  readonly abstained: boolean;
  readonly language: Language;
  /** Of the trained classifier's, where it decided because keywords were in doubt. */
  readonly probability?: number;
}

/** Least score of a domain that does not say its own. */
const leastScore = 2.5;
/** The best domain must have this many times the score of the second. */
const margin = 1.2;
/** Keywords are in doubt when they abstain, or when their best has less than this times what it needs, or times the second. */
const doubt = 1.6;
/** A doubtful decision of the keywords needs so much probability in the classifier's eyes, if that can't decide itself. */
const leastSupport = 0.08;
/** A topic shows early; a book must not take a second. */
export const mostCharacters = 20_000;

/** A keyword that was found: what `explain` shows and tests look at. */
export interface Evidence {
  readonly domain: string;
  readonly keyword: string;
  readonly count: number;
  readonly points: number;
}

/** What is found in a text: the decision, the keywords that decided it, heaviest first, and whether they left no doubt. */
export interface Explanation {
  readonly classification: Classification;
  readonly evidence: readonly Evidence[];
  /** What keywords alone said; a row that they sorted may teach the classifier. */
  readonly byKeywords: Classification;
}

/** @param domains as `loadDomains` gave them; their compiled form is kept for as long as the array lives */
export function classify(text: string, domains: readonly Domain[]): Classification {
  return explain(text, domains).classification;
}

/** The same, with the keywords that decided it, heaviest first. */
export function explain(text: string, domains: readonly Domain[]): Explanation {
  return explainWords(wordsOf(text.length > mostCharacters ? text.slice(0, mostCharacters) : text), domains);
}

/** The same of a text whose words are known. @param words of no more than `mostCharacters` */
export function explainWords(words: readonly Word[], domains: readonly Domain[]): Explanation {
  const language = detectLanguage(words);
  const scores = domains.map(() => 0);
  const evidence: Evidence[] = [];
  for (const { term, count } of findTerms(words, domains)) {
    // A word that comes again adds half as much each time: ten "server"s are not ten reasons.
    const points = term.weight * languageFactor(term.language, language) * (2 - 2 ** (1 - count));
    if (points === 0) continue;
    scores[term.domain] = (scores[term.domain] ?? 0) + points;
    evidence.push({ domain: domains[term.domain]?.name ?? "", keyword: term.spelling, count, points });
  }
  evidence.sort((a, b) => b.points - a.points);
  const { classification, doubtful } = decide(scores, domains, language);
  return { classification: doubtful ? secondOpinion(words, domains, classification) : classification, evidence, byKeywords: classification };
}

function secondOpinion(words: readonly Word[], domains: readonly Domain[], first: Classification): Classification {
  const model = classifierOf(domains);
  if (model === null) return first;
  const { domain, probability, probabilities } = predictWords(model, words);
  if (!domains.some(({ name }) => name === domain)) return first;
  if (probability < model.threshold) {
    // Nobody is sure, and what the keywords lean to is what the rows speak against: that knows nothing.
    const place = model.classes.indexOf(first.domain);
    return first.abstained || place < 0 || (probabilities[place] ?? 0) >= leastSupport ? first : { ...first, domain: fallbackDomain, abstained: true };
  }
  return { ...first, domain, abstained: domain === fallbackDomain, probability };
}

const nothing: readonly { term: Term; count: number }[] = [];

function findTerms(words: readonly Word[], domains: readonly Domain[]): Iterable<{ term: Term; count: number }> {
  const table = tableOf(domains);
  // Nearly all words begin no term.
  const places: number[] = [];
  let isFound = false;
  for (let at = 0; at < words.length; at++) {
    const lexeme = words[at]?.lexeme;
    if (lexeme === undefined) break;
    const entry = entryOf(lexeme, table);
    if (entry === noEntry) continue;
    places.push(at);
    isFound ||= entry.terms.length > 0;
  }
  if (!isFound) return nothing;
  const negated = negatedPlaces(words);
  const excluded: (Set<number> | undefined)[] = [];
  for (const at of places) {
    for (const term of entryAt(words, at).exclusions) {
      if (!fits(term, words, at)) continue;
      const covered = (excluded[term.domain] ??= new Set());
      for (let place = at; place < at + term.words.length; place++) covered.add(place);
    }
  }
  const found = new Map<number, { term: Term; count: number }>();
  for (const at of places) {
    for (const term of entryAt(words, at).terms) {
      if (!fits(term, words, at) || isRuledOut(term, at, negated, excluded[term.domain])) continue;
      const seen = found.get(term.id);
      if (seen === undefined) found.set(term.id, { term, count: 1 });
      else seen.count++;
    }
  }
  return found.values();
}

/** Of a word that findTerms has looked up. */
const entryAt = (words: readonly Word[], at: number) => words[at]?.lexeme.entry as Entry;

function isRuledOut(term: Term, at: number, negated: ReadonlySet<number>, excluded: ReadonlySet<number> | undefined): boolean {
  for (let place = at; place < at + term.words.length; place++) if (negated.has(place) || excluded?.has(place) === true) return true;
  return false;
}

function decide(scores: readonly number[], domains: readonly Domain[], language: Language): { classification: Classification; doubtful: boolean } {
  let best = 0;
  let second = 0;
  let winner: Domain | undefined;
  for (const [at, domain] of domains.entries()) {
    const score = scores[at] ?? 0;
    if (score > best) [second, best, winner] = [best, score, domain];
    else if (score > second) second = score;
  }
  const sure = winner !== undefined && best >= (winner.minScore ?? leastScore) && best >= margin * second;
  const rounded = Math.round(best * 100) / 100;
  if (!sure || winner === undefined) return { classification: { domain: fallbackDomain, score: rounded, abstained: true, language }, doubtful: true };
  return { classification: { domain: winner.name, score: rounded, abstained: false, language }, doubtful: best < doubt * (winner.minScore ?? leastScore) || best < doubt * second };
}

/** English technical words are at home in Portuguese texts; a Portuguese stem in an English text is mostly an accident (process, processo). */
function languageFactor(term: Term["language"], text: Language): number {
  if (term === "any" || text === "unknown" || term === text) return 1;
  return term === "en" ? 0.5 : 0;
}
