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
import { wordsOf, type Lexeme, type Word } from "./words.ts";

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
const shortestStem = 4;
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

interface Term {
  readonly domain: number;
  readonly spelling: string;
  readonly id: number;
  readonly language: "pt" | "en" | "any";
  readonly weight: number;
  /** For each word of the term, the keys that match it. */
  readonly words: readonly (readonly string[])[];
}

interface Index {
  readonly terms: ReadonlyMap<string, readonly Term[]>;
  readonly exclusions: ReadonlyMap<string, readonly Term[]>;
  /** How the first words of all of them begin, by language and first four letters. */
  readonly beginnings: Readonly<Record<"pt" | "en", Beginnings>>;
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
  const index = indexOf(domains);
  // Nearly all words begin no term.
  const places: number[] = [];
  let isFound = false;
  for (let at = 0; at < words.length; at++) {
    const lexeme = words[at]?.lexeme;
    if (lexeme === undefined) break;
    const entry = entryOf(lexeme, index);
    if (entry === emptyEntry) continue;
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
const entryAt = (words: readonly Word[], at: number) => words[at]?.lexeme.notes.entry as Entry;

function isRuledOut(term: Term, at: number, negated: ReadonlySet<number>, excluded: ReadonlySet<number> | undefined): boolean {
  for (let place = at; place < at + term.words.length; place++) if (negated.has(place) || excluded?.has(place) === true) return true;
  return false;
}

function fits(term: Term, words: readonly Word[], at: number): boolean {
  for (let offset = 1; offset < term.words.length; offset++) {
    const accepted = term.words[offset] ?? [];
    const lexeme = words[at + offset]?.lexeme;
    if (lexeme === undefined || !isOneOf(keysFor(lexeme), accepted)) return false;
  }
  return true;
}

function isOneOf(keys: readonly string[], accepted: readonly string[]): boolean {
  for (const key of keys) if (accepted.includes(key)) return true;
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

/** The terms that may begin with a word. */
interface Entry {
  readonly terms: readonly Term[];
  readonly exclusions: readonly Term[];
}

const emptyEntry: Entry = { terms: [], exclusions: [] };

/** By its first four letters: stems without their last two. */
type Beginnings = ReadonlyMap<string, readonly string[]>;

/**
 * Whether a stemmer may make one of the stems out of a word. It leaves the first three letters alone; the fourth stays or becomes e or i in English (moving,
 * very), and a in Portuguese (lesões); and of a stem it makes up no more than the last letter (penalti, requisica), of which two are allowed for here.
 */
function mayBegin(plain: string, beginnings: Beginnings, others: readonly string[]): boolean {
  if (isBegun(plain, beginnings.get(plain.slice(0, 4)))) return true;
  const three = plain.slice(0, 3);
  for (const other of others) if (isBegun(plain, beginnings.get(three + other))) return true;
  return false;
}

function isBegun(plain: string, beginnings: readonly string[] | undefined): boolean {
  if (beginnings === undefined) return false;
  for (const beginning of beginnings) if (plain.startsWith(beginning)) return true;
  return false;
}

const fewestLetters = 3;

function beginningsOf(stems: readonly string[]): Beginnings {
  const found = new Map<string, Set<string>>();
  for (const stem of stems) {
    const key = stem.slice(0, 4);
    const beginnings = found.get(key) ?? new Set();
    found.set(key, beginnings.add(stem.slice(0, Math.max(fewestLetters, stem.length - 2))));
  }
  return new Map([...found].map(([key, beginnings]) => [key, [...beginnings]]));
}

const keysFor = (lexeme: Lexeme) => (lexeme.notes.keys ??= [`=${lexeme.exact}`, `en:${lexeme.en}`, ...lexeme.pt.map((stem) => `pt:${stem}`)]);

/** Remembered on the word, for the table of domains that asked last. */
function entryOf(lexeme: Lexeme, index: Index): Entry {
  const { notes } = lexeme;
  if (notes.table === index) return notes.entry as Entry;
  const entry = lookUp(lexeme, index);
  notes.table = index;
  notes.entry = entry;
  return entry;
}

function lookUp(lexeme: Lexeme, index: Index): Entry {
  const { plain, exact } = lexeme;
  // Stemming takes longer than all the rest, and most words are far from any keyword.
  const keys = [`=${exact}`];
  if (mayBegin(plain, index.beginnings.en, ["e", "i"])) keys.push(`en:${lexeme.en}`);
  if (mayBegin(plain, index.beginnings.pt, ["a"])) keys.push(...lexeme.pt.map((stem) => `pt:${stem}`));
  // Two keys of one word may lead to the same term.
  const starting = (table: ReadonlyMap<string, readonly Term[]>) => [...new Set(keys.flatMap((key) => table.get(key) ?? []))];
  const entry = { terms: starting(index.terms), exclusions: starting(index.exclusions) };
  return entry.terms.length + entry.exclusions.length === 0 ? emptyEntry : entry;
}

const compiled = new WeakMap<readonly Domain[], Index>();

function indexOf(domains: readonly Domain[]): Index {
  const known = compiled.get(domains);
  if (known !== undefined) return known;
  const terms = new Map<string, Term[]>();
  const exclusions = new Map<string, Term[]>();
  let id = 0;
  for (const [domain, row] of domains.entries()) {
    // Two spellings with one stem (médica, médico) are one term: the heavier weight counts, once.
    const heaviest = new Map<string, Term>();
    for (const language of ["any", "pt", "en"] as const) {
      for (const [spelling, weight] of Object.entries(row.keywords[language] ?? {})) {
        const words = acceptedKeys(spelling, language);
        if (words.length === 0) continue;
        const signature = `${language} ${JSON.stringify(words)}`;
        const before = heaviest.get(signature);
        if (before === undefined || before.weight < weight) heaviest.set(signature, { domain, spelling, id: before?.id ?? id++, language, weight, words });
      }
      if (language === "any") continue;
      for (const spelling of row.exclusions?.[language] ?? []) add(exclusions, { domain, spelling, id: id++, language, weight: 0, words: acceptedKeys(spelling, language) });
    }
    for (const term of heaviest.values()) add(terms, term);
  }
  const beginnings = (language: "pt" | "en") => beginningsOf([...terms.keys(), ...exclusions.keys()].flatMap((key) => (key.startsWith(`${language}:`) ? [key.slice(3)] : [])));
  const index = { terms, exclusions, beginnings: { pt: beginnings("pt"), en: beginnings("en") } };
  compiled.set(domains, index);
  return index;
}

function add(index: Map<string, Term[]>, term: Term): void {
  for (const key of term.words[0] ?? []) index.set(key, [...(index.get(key) ?? []), term]);
}

/**
 * A leading "=" asks for the word as it stands or its plural; without it every inflection matches, except where the stem is so short that it is
 * other words' too (dose and dos, pele and pelo). Words that both languages share are mostly names and are never stemmed.
 */
function acceptedKeys(spelling: string, language: "pt" | "en" | "any"): string[][] {
  const asItStands = spelling.startsWith("=") || language === "any";
  return wordsOf(spelling).map(({ lexeme: { exact, pt, en } }) => {
    if (asItStands) return [`=${exact}`];
    const stems = (language === "pt" ? pt : [en]).filter((stem) => stem.length >= shortestStem);
    return stems.length === 0 ? [`=${exact}`] : stems.map((stem) => `${language}:${stem}`);
  });
}
