/**
 * The keywords of all domains as a table: which of them may begin with a word of a text, and whether the words behind it go on as they do. Stemming takes longer
 * than all the rest, and most words are far from any keyword: a word is stemmed only where a keyword's stem begins as it does.
 */
import type { Domain } from "./domains.ts";
import { wordsOf, type Lexeme, type Word } from "./words.ts";

export interface Term {
  readonly domain: number;
  readonly spelling: string;
  readonly id: number;
  readonly language: "pt" | "en" | "any";
  readonly weight: number;
  readonly words: readonly Accepted[];
}

/** What a word of a text must be to stand for one of a term: the word itself, or one with such a stem. */
interface Accepted {
  readonly by: "exact" | "pt" | "en";
  readonly spellings: readonly string[];
  /** Their first letter, which no stemmer touches. */
  readonly first: number;
}

/** The terms that may begin with a word. */
export interface Entry {
  readonly terms: readonly Term[];
  readonly exclusions: readonly Term[];
}

export const noEntry: Entry = { terms: [], exclusions: [] };

/** By what their first word is looked up by. */
type Entries = Map<string, { readonly terms: Term[]; readonly exclusions: Term[] }>;

export interface Table extends Readonly<Record<Accepted["by"], Entries>> {
  /** How the stems begin. */
  readonly beginnings: Readonly<Record<"pt" | "en", Beginnings>>;
}

/** By their first three letters. */
type Beginnings = ReadonlyMap<string, readonly Beginning[]>;

interface Beginning {
  readonly fourth: string;
  /** The stem without its last two letters, three at least. */
  readonly text: string;
}

const shortestStem = 4;
const fewestLetters = 3;

/** Remembered on the word, for the table that asked last. */
export function entryOf(lexeme: Lexeme, table: Table): Entry {
  if (lexeme.table === table) return lexeme.entry as Entry;
  const entry = lookUp(lexeme, table);
  lexeme.table = table;
  lexeme.entry = entry;
  return entry;
}

function lookUp(lexeme: Lexeme, table: Table): Entry {
  const { plain } = lexeme;
  const three = plain.slice(0, fewestLetters);
  const found = [table.exact.get(lexeme.exact)];
  if (mayBegin(plain, table.beginnings.en.get(three), "ei")) found.push(table.en.get(lexeme.en));
  if (mayBegin(plain, table.beginnings.pt.get(three), "a")) for (const stem of lexeme.pt) found.push(table.pt.get(stem));
  const entries = found.filter((entry) => entry !== undefined);
  if (entries.length < 2) return entries[0] ?? noEntry;
  // Two keys of one word may lead to the same term.
  return { terms: [...new Set(entries.flatMap(({ terms }) => terms))], exclusions: [...new Set(entries.flatMap(({ exclusions }) => exclusions))] };
}

/**
 * Whether a stemmer may make one of the stems out of a word. It leaves the first three letters alone; the fourth stays or becomes e or i in English (moving,
 * very), and a in Portuguese (lesões); and of a stem it makes up no more than the last letter (penalti, requisica), of which two are allowed for here.
 */
function mayBegin(plain: string, beginnings: readonly Beginning[] | undefined, becomes: string): boolean {
  if (beginnings === undefined) return false;
  for (const { fourth, text } of beginnings) if (plain.startsWith(text) && (text.length > fewestLetters || plain[fewestLetters] === fourth || becomes.includes(fourth))) return true;
  return false;
}

/** Whether a term that may begin with the word at a place goes on in the words behind it. */
export function fits(term: Term, words: readonly Word[], at: number): boolean {
  for (let offset = 1; offset < term.words.length; offset++) {
    const lexeme = words[at + offset]?.lexeme;
    const accepted = term.words[offset];
    if (lexeme === undefined || accepted === undefined || !isAccepted(lexeme, accepted)) return false;
  }
  return true;
}

function isAccepted(lexeme: Lexeme, { by, spellings, first }: Accepted): boolean {
  const { plain } = lexeme;
  if (plain.charCodeAt(0) !== first) return false;
  for (const spelling of spellings) {
    if (by === "exact") {
      if (lexeme.exact === spelling) return true;
      // Nor does one touch the second.
    } else if (plain.charCodeAt(1) === spelling.charCodeAt(1) && (by === "en" ? lexeme.en === spelling : lexeme.pt.includes(spelling))) return true;
  }
  return false;
}

const compiled = new WeakMap<readonly Domain[], Table>();

/** Kept for as long as the array lives. */
export function tableOf(domains: readonly Domain[]): Table {
  let table = compiled.get(domains);
  if (table === undefined) compiled.set(domains, (table = compile(domains)));
  return table;
}

function compile(domains: readonly Domain[]): Table {
  const entries: Record<Accepted["by"], Entries> = { exact: new Map(), pt: new Map(), en: new Map() };
  const add = (kind: keyof Entry, term: Term) => {
    const first = term.words[0];
    for (const spelling of first?.spellings ?? []) entryAt(entries[first?.by ?? "exact"], spelling)[kind].push(term);
  };
  let id = 0;
  for (const [domain, row] of domains.entries()) {
    // Two spellings with one stem (médica, médico) are one term: the heavier weight counts, once.
    const heaviest = new Map<string, Term>();
    for (const language of ["any", "pt", "en"] as const) {
      for (const [spelling, weight] of Object.entries(row.keywords[language] ?? {})) {
        const words = acceptedWords(spelling, language);
        if (words.length === 0) continue;
        const signature = `${language} ${JSON.stringify(words)}`;
        const before = heaviest.get(signature);
        if (before === undefined || before.weight < weight) heaviest.set(signature, { domain, spelling, id: before?.id ?? id++, language, weight, words });
      }
      if (language === "any") continue;
      for (const spelling of row.exclusions?.[language] ?? []) add("exclusions", { domain, spelling, id: id++, language, weight: 0, words: acceptedWords(spelling, language) });
    }
    for (const term of heaviest.values()) add("terms", term);
  }
  return { ...entries, beginnings: { pt: beginningsOf(entries.pt), en: beginningsOf(entries.en) } };
}

function entryAt(entries: Entries, spelling: string) {
  let entry = entries.get(spelling);
  if (entry === undefined) entries.set(spelling, (entry = { terms: [], exclusions: [] }));
  return entry;
}

function beginningsOf(stems: Entries): Beginnings {
  const found = new Map<string, Beginning[]>();
  for (const stem of stems.keys()) {
    const three = stem.slice(0, fewestLetters);
    const beginnings = found.get(three) ?? [];
    beginnings.push({ fourth: stem.charAt(fewestLetters), text: stem.slice(0, Math.max(fewestLetters, stem.length - 2)) });
    found.set(three, beginnings);
  }
  return found;
}

/**
 * A leading "=" asks for the word as it stands or its plural; without it every inflection matches, except where the stem is so short that it is
 * other words' too (dose and dos, pele and pelo). Words that both languages share are mostly names and are never stemmed.
 */
function acceptedWords(spelling: string, language: "pt" | "en" | "any"): Accepted[] {
  return wordsOf(spelling).map(({ lexeme }) => {
    const first = lexeme.plain.charCodeAt(0);
    const exact: Accepted = { by: "exact", spellings: [lexeme.exact], first };
    if (language === "any" || spelling.startsWith("=")) return exact;
    const stems = (language === "pt" ? lexeme.pt : [lexeme.en]).filter((stem) => stem.length >= shortestStem);
    return stems.length === 0 ? exact : { by: language, spellings: stems, first };
  });
}
