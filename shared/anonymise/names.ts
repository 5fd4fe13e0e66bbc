/**
 * Names of people. A capitalised word alone is no name: it needs a phrase before it ("me chamo", "Dr.", "my husband"), or to be a common first name
 * with a common surname. That keeps historical figures and brands, and misses rare names without context: rules can't do better.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { beforeOf, foldedWord as folded, isRelation, isSaint, isStrong, isWeak, isWeakBeforeTwo, isGreeted, isMailbox } from "./names_context.ts";
import { begin, type Found } from "./recogniser.ts";

const lists = z.object({ first: z.string(), last: z.string(), never: z.string() }).parse(JSON.parse(readFileSync(join(import.meta.dirname, "names.json"), "utf8")));
const setOf = (words: string) => new Set(words.split(" ").map(folded));
const firstNames = setOf(lists.first);
const lastNames = setOf(lists.last);
const neverNames = setOf(lists.never);

const particle = "de|da|do|dos|das|e|del|della|di|van|von|der|den|la|le|bin|al";
const particles = new RegExp(`^(?:${particle})$`, "i");
const capitalised = String.raw`(?:(?:O['’]|D['’]|Mc|Mac)?\p{Lu}[\p{Ll}\p{M}]+(?:[-'’]\p{Lu}?[\p{Ll}\p{M}]+)*|\p{Lu}\.(?= \p{Lu}))`;
/** Tried where a word begins with a capital. */
const sequences = [
  new RegExp(`${capitalised}(?: (?:(?:${particle}) ){0,2}${capitalised}){0,6}(?![\\p{L}\\p{N}_])`, "uy"),
  // In capitals: MARIA DA SILVA.
  new RegExp(String.raw`\p{Lu}{3,}(?: (?:(?:DE|DA|DO|DOS|DAS|E) )?\p{Lu}{2,}){0,6}(?![\p{L}\p{N}_])`, "uy"),
];
// Written without capitals, after words that leave no doubt.
const uncapitalised = new RegExp(String.raw`${begin}(?:me chamo|meu nome(?: completo)? é|my (?:full )?name is|my name's)\s+(?<value>\p{Ll}[\p{L}'’-]{1,30}(?: \p{Ll}[\p{L}'’-]{0,30}){0,6})`, "giu");

interface Token {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Adds the names in one text to what was found. */
export function findNames(text: string, found: Found[] = []): Found[] {
  for (let at = 0; at < text.length; at++) {
    if (!isCapital(text, at) || (at > 0 && isWordCharacter(text, at - 1))) continue;
    const match = sequenceAt(text, at);
    if (match === null) continue;
    const name = nameIn(tokensOf(match, at), text);
    if (name !== null) found.push(name);
    at += match.length - 1;
  }
  if (!/chamo|nome|name/i.test(text)) return found;
  for (const match of text.matchAll(uncapitalised)) {
    const value = match.groups?.["value"] ?? "";
    const start = match.index + match[0].length - value.length;
    const end = endOfUncapitalised(tokensOf(value, start));
    if (end > start) found.push({ start, end, kind: "NOME" });
  }
  return found;
}

function sequenceAt(text: string, at: number): string | null {
  for (const pattern of sequences) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) return match[0];
  }
  return null;
}

function isCapital(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  if (code < 0x80) return code >= 65 && code <= 90;
  return code < 0x100 ? code >= 0xc0 && code <= 0xde && code !== 0xd7 : /\p{Lu}/u.test(text.charAt(at));
}

function isWordCharacter(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  if (code < 0x80) return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 48 && code <= 57) || code === 95;
  return /[\p{L}\p{N}]/u.test(text.charAt(at));
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
  for (const [at, token] of tokens.entries()) {
    const rest = untilNoName(tokens.slice(at));
    const last = rest.at(-1);
    if (last === undefined) continue;
    if (isName(rest, text)) return { start: token.start, end: last.end, kind: "NOME" };
  }
  return null;
}

function isName(tokens: readonly Token[], text: string): boolean {
  const first = folded(tokens[0]?.text ?? "");
  if (first.length < 2 || neverNames.has(first)) return false;
  const known = firstNames.has(first);
  const before = beforeOf(text, tokens[0]?.start ?? 0);
  if (isSaint(before)) return false;
  if (known && tokens.length > 1) return true;
  // HTTP and CPU are capitals too.
  if (!known && tokens.every((token) => token.text === token.text.toUpperCase())) return tokens.length > 1 && isStrong(before);
  const end = tokens.at(-1)?.end ?? 0;
  if (isStrong(before) || isMailbox(text, end)) return true;
  if (known) return isWeak(before) || isRelation(before) || (tokens.length > 1 && isWeakBeforeTwo(before));
  return first.length >= 3 && (isRelation(before) || isGreeted(before, text, end));
}

function untilNoName(tokens: readonly Token[]): Token[] {
  const end = tokens.findIndex((token) => neverNames.has(folded(token.text)) && !particles.test(token.text));
  const kept = tokens.slice(0, end < 0 ? tokens.length : end);
  while (kept.length > 0 && particles.test(kept.at(-1)?.text ?? "")) kept.pop();
  return kept;
}

function endOfUncapitalised(tokens: readonly Token[]): number {
  const [first, ...others] = tokens;
  if (first === undefined || neverNames.has(folded(first.text))) return -1;
  let end = first.end;
  for (const token of others) {
    const word = folded(token.text);
    const isParticle = particles.test(word);
    if (!isParticle && !firstNames.has(word) && !lastNames.has(word)) break;
    if (!isParticle) end = token.end;
  }
  return end;
}

function tokensOf(text: string, offset: number): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  for (const word of text.split(" ")) {
    tokens.push({ text: word, start: offset + at, end: offset + at + word.length });
    at += word.length + 1;
  }
  return tokens;
}
