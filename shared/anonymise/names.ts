/**
 * Names of people. A capitalised word alone is no name: it needs a phrase before it ("me chamo", "Dr.", "my husband"), or to be a common first name
 * with a common surname. That keeps historical figures and brands, and misses rare names without context: rules can't do better.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { beforeOf, foldedWord as folded, isRelation, isSaint, isStrong, isWeak, isWeakBeforeTwo, isWeakOfPerson, isGreeted, isIntroduced, isLabelled, isMailbox, isOfPlace } from "./names_context.ts";
import { isAccent, isCapital, isLetter, kindAt } from "./characters.ts";
import { begin, type Found } from "./recogniser.ts";
import type { Scan } from "./scan.ts";

const lists = z.object({ first: z.string(), last: z.string(), never: z.string() }).parse(JSON.parse(readFileSync(join(import.meta.dirname, "names.json"), "utf8")));
const setOf = (words: string) => new Set(words.split(" ").map(folded));
const firstNames = setOf(lists.first);
const lastNames = setOf(lists.last);
const neverNames = setOf(lists.never);

const particle = "de|da|do|dos|das|e|del|della|di|van|von|der|den|la|le|bin|al";
const particles = new RegExp(`^(?:${particle})$`, "i");
const capitalised = String.raw`(?:(?:O['’]|D['’]|Mc|Mac|De|La|Le|Fitz)?\p{Lu}[\p{Ll}\p{M}]+(?:[-'’]\p{Lu}?[\p{Ll}\p{M}]+)*|\p{Lu}\.(?= \p{Lu}))`;
/** Tried where a word begins with a capital. */
const sequence = new RegExp(`${capitalised}(?: (?:(?:${particle}) ){0,2}${capitalised}){0,6}(?![\\p{L}\\p{N}_])`, "uy");
/** In capitals: MARIA DA SILVA. */
const capitalSequence = new RegExp(String.raw`\p{Lu}{3,}(?: (?:(?:DE|DA|DO|DOS|DAS|E) )?(?:\p{Lu}\.|\p{Lu}+)){0,6}(?![\p{L}\p{N}_])`, "uy");
/** Accents that combine and are not Latin's. */
const beyondLatin = /\p{M}/u;
// Written without capitals, after words that leave no doubt.
const uncapitalised = new RegExp(String.raw`${begin}(?:me chamo|meu nome(?: completo)? é|my (?:full )?name is|my name's)\s+(?<value>\p{Ll}[\p{L}'’-]{1,30}(?: \p{Ll}[\p{L}'’-]{0,30}){0,6})`, "giu");

/** What is known of a word, however it is written. */
interface Word {
  readonly folded: string;
  readonly first: boolean;
  readonly last: boolean;
  readonly never: boolean;
  readonly particle: boolean;
  readonly capitals: boolean;
}

const remembered = new Map<string, Word>();

/** Texts repeat their words: remembered, and all forgotten before it grows large. */
function wordOf(text: string): Word {
  let word = remembered.get(text);
  if (word !== undefined) return word;
  const plain = folded(text);
  word = { folded: plain, first: firstNames.has(plain), last: lastNames.has(plain), never: neverNames.has(plain), particle: particles.test(text), capitals: text === text.toUpperCase() };
  if (remembered.size > 20_000) remembered.clear();
  if (text.length <= 30) remembered.set(text, word);
  return word;
}

interface Token {
  readonly word: Word;
  readonly start: number;
  readonly end: number;
}

/** Parts of words without one of which no name stands in small letters: for the scan. */
export const nameParts = ["chamo", "nome", "name"] as const;

/** Adds the names in one text to what was found. @param scan of the text @param uncapitalisedToo whether one of nameParts is in it */
export function findNames({ text, capitals }: Scan, uncapitalisedToo: boolean, found: Found[]): void {
  let next = 0;
  for (let index = 0; index < capitals.length; index++) {
    const at = capitals.at(index);
    if (at < next) continue;
    const match = sequenceAt(text, at);
    if (match === null) continue;
    next = at + match.length;
    const name = nameIn(tokensOf(match, at), text);
    if (name !== null) found.push(name);
  }
  if (!uncapitalisedToo) return;
  for (const match of text.matchAll(uncapitalised)) {
    const value = match.groups?.["value"] ?? "";
    const start = match.index + match[0].length - value.length;
    const end = endOfUncapitalised(tokensOf(value, start));
    if (end > start) found.push({ start, end, kind: "NOME" });
  }
}

function sequenceAt(text: string, at: number): string | null {
  const second = text.charCodeAt(at + 1);
  const kind = kindAt(text, at + 1);
  // A capital alone is no name; after one come small letters, or capitals, or the signs of "J. R. Souza" and "O'Neil".
  if ((kind & (isLetter | isAccent)) === 0 && second !== 46 && second !== 39 && second !== 0x2019 && !beyondLatin.test(text.charAt(at + 1))) return null;
  const pattern = (kind & isCapital) === 0 ? sequence : capitalSequence;
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}

const personLabel = /(?:^| )(?:(?:full|first|last|middle|given|family|customer|client|patient|user|contact|holder|owner|mother|father|doctor|employee|person|passenger|guest|student|recipient|sender)s? ?name|surname|fullname|firstname|lastname|nome(?: completo| social| d[aoe]s? \p{L}+)?|sobrenome|titular|holder|cliente|paciente|mãe|pai|responsável)$/u;

/** A value in JSON whose key says that it is a person's name, however it is written. @param label the key's words */
export function isNameByLabel(label: string, value: string): boolean {
  return personLabel.test(label) && value.length <= 80 && /^\p{L}[\p{L}\p{M}.'’ -]+$/u.test(value.trim());
}

/** The parts of a name that may come again alone ("Ana" of "Ana Souza"). */
export function partsOfName(name: string): string[] {
  return name.split(/\s+/).filter((part) => part.length >= 3 && /^\p{Lu}/u.test(part) && !neverNames.has(folded(part)));
}

/** A capitalised sequence may begin with a word that is none of the name ("Cliente Maria Silva"), and end with one ("Ana Souza CPF"). */
function nameIn(tokens: readonly Token[], text: string): Found | null {
  for (let first = 0; first < tokens.length; first++) {
    const end = endOfName(tokens, first);
    const last = tokens[end - 1];
    const token = tokens[first];
    if (last !== undefined && token !== undefined && end > first && isName(tokens, first, end, text)) return { start: token.start, end: last.end, kind: "NOME" };
  }
  return null;
}

function isName(tokens: readonly Token[], first: number, end: number, text: string): boolean {
  const token = tokens[first];
  if (token === undefined || token.word.folded.length < 2 || token.word.never) return false;
  const { word, start } = token;
  const several = end - first > 1;
  const before = beforeOf(text, start);
  if (isSaint(before) || isOfPlace(before)) return false;
  if (word.first && several) return true;
  // HTTP and CPU are capitals too.
  if (!word.first && areCapitals(tokens, first, end)) return (several && isStrong(before)) || (word.folded.length > 3 && isLabelled(before));
  const last = tokens[end - 1]?.end ?? 0;
  // Anthropic(…) is called, not addressed.
  if (text.charCodeAt(last) === 40) return false;
  if (isStrong(before) || isMailbox(text, last)) return true;
  if (word.first) return isWeak(before) || isRelation(before) || (several && isWeakBeforeTwo(before));
  // A rare first name with a common surname.
  if (several && tokens[end - 1]?.word.last === true && isWeakOfPerson(before)) return true;
  return (word.folded.length >= 3 || (several && !word.particle)) && (isRelation(before) || isGreeted(before, text, last) || isIntroduced(before, text, last));
}

function areCapitals(tokens: readonly Token[], first: number, end: number): boolean {
  for (let at = first; at < end; at++) if (tokens[at]?.word.capitals !== true) return false;
  return true;
}

/** The place after the last token of a name that begins at `first`. */
function endOfName(tokens: readonly Token[], first: number): number {
  let end = first;
  for (; end < tokens.length; end++) {
    const word = tokens[end]?.word;
    if (word === undefined || (word.never && !word.particle)) break;
  }
  while (end > first && tokens[end - 1]?.word.particle === true) end--;
  return end;
}

function endOfUncapitalised(tokens: readonly Token[]): number {
  const [first, ...others] = tokens;
  if (first === undefined || first.word.never) return -1;
  let end = first.end;
  for (const { word, end: itsEnd } of others) {
    if (!word.particle && !word.first && !word.last) break;
    if (!word.particle) end = itsEnd;
  }
  return end;
}

function tokensOf(text: string, offset: number): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at <= text.length; ) {
    const space = text.indexOf(" ", at);
    const end = space < 0 ? text.length : space;
    tokens.push({ word: wordOf(text.slice(at, end)), start: offset + at, end: offset + end });
    at = end + 1;
  }
  return tokens;
}
