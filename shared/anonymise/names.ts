/**
 * Names of people. A capitalised word alone is no name: it needs a phrase before it ("me chamo", "Dr.", "my husband"), or to be a common first name
 * with a common surname. That keeps historical figures and brands, and misses rare names without context: rules can't do better.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { withoutAccents } from "../domains/words.ts";
import { begin, contextLength, type Found } from "./recogniser.ts";

const lists = z.object({ first: z.string(), last: z.string(), never: z.string() }).parse(JSON.parse(readFileSync(join(import.meta.dirname, "names.json"), "utf8")));
const folded = (word: string) => withoutAccents(word).toLowerCase();
const setOf = (words: string) => new Set(words.split(" ").map(folded));
const firstNames = setOf(lists.first);
const lastNames = setOf(lists.last);
const neverNames = setOf(lists.never);

const particle = "de|da|do|dos|das|e|del|della|di|van|von|der|den|la|le|bin|al";
const particles = new RegExp(`^(?:${particle})$`, "i");
const capitalised = String.raw`(?:(?:O['’]|D['’]|Mc|Mac)?\p{Lu}[\p{Ll}\p{M}]+(?:[-'’]\p{Lu}?[\p{Ll}\p{M}]+)*|\p{Lu}\.(?= \p{Lu}))`;
const sequences = [
  new RegExp(`${begin}${capitalised}(?: (?:(?:${particle}) ){0,2}${capitalised}){0,6}(?![\\p{L}\\p{N}_])`, "gu"),
  // In capitals: MARIA DA SILVA.
  new RegExp(String.raw`${begin}\p{Lu}{3,}(?: (?:(?:DE|DA|DO|DOS|DAS|E) )?\p{Lu}{2,}){0,6}(?![\p{L}\p{N}_])`, "gu"),
];

// What comes next is a name, whatever it is.
const strong = new RegExp(
  String.raw`${begin}(?:me chamo|meu nome(?: completo| todo)? é|meu nome(?: completo)?:|(?:nome|name)(?: completo| social| d[aoe]s? \p{L}{3,12}(?: \p{L}{3,12})?)?["']?\s*[:=]\s*["']?|full name(?: is|:)|(?:first|last|sur)name\s*[:=]|(?:customer|client|patient|user|contact|holder|owner|author|assignee|cliente|paciente|usuári[oa]|titular|responsável|contato|autor|autora|réu|ré|parte|testemunha|remetente|destinatário|beneficiári[oa]|recipient|sender|plaintiff|defendant|signed|assinado)(?:[ _]?name)?["']?\s*[:=]\s*["']?|my (?:full )?name(?: is|'s|’s|:)|(?:his|her|their) name is|o nome del[ae] é|em nome d[eao]|in the name of|on behalf of|chamad[oa]|que se chama|se chama|atende por|srt?a?\.|sr\.ª|dra?\.|drª\.?|mr\.?|mrs\.?|ms\.?|profa?\.|eng\.|doutora?|signed by|assinado por|assinada por|aos cuidados de|a/c|attn:?|sincerely,|regards,|atenciosamente,|cordialmente,|att\.?,|abraços?,|cheers,|nome d[aeo] m[ãa]e[: ]|filh[oa] de)\s*$`,
  "iu",
);
// What comes next is a name if it is a known first name.
const weak = new RegExp(
  String.raw`${begin}(?:sou|sou [oa]|eu sou [oa]|aqui é|aqui é [oa]|aqui quem (?:fala|escreve) é(?: [oa])?|aqui,|i'?’?m(?: now)?|i am(?: now)?|i’m(?: now)?|contact is|contato é|formerly|antes|instead of|this is|it's|it is|olá|oi|hi|hello|hey|dear|car[oa]|prezad[oa]|querid[oa]|obrigad[oa]|thanks|thank you|bom dia|boa tarde|boa noite|good morning|welcome|bem-vind[oa]|fal[aeo]\w* com|falei com|contatar|contato com|contact|call|calls?|e-?mail|text|message|write to|lig(?:ar|ue|uei) para(?: [oa])?|cham[ae]r?|vovó|vovô|spoke (?:to|with)|talked to|ask for|procurar|com [oa]|para [oa]|d[oa]|pel[oa]|[oa]|seu|dona|dom|senhora?|srta|sr|sra|dr|dra|prof|profa|tia|tio)[,:!]?\s*$`,
  "iu",
);
// The same where a capitalised word follows the first name.
const weakBeforeTwo = new RegExp(String.raw`${begin}(?:and|e|with|by|por|from|de|to|for|ref\.|tell|about|sobre|ao|à|que)[,:]?\s*$`, "iu");
/** São Francisco and Santa Clara are places first. */
export const saint = new RegExp(String.raw`${begin}(?:são|santa|santo|san|saint|st\.?)\s$`, "iu");
// What comes next is somebody close to the writer or part of a case, so most capitalised words are names.
const relation = new RegExp(
  String.raw`${begin}(?:(?:me[us]|minhas?|my|our|noss[oa]|seu|sua|his|her|d[oa]|[oa]|the)\s)?(?:marido|esposa|esposo|mulher|namorad[oa]|noiv[oa]|filh[oa]|filhinh[oa]|pai|mãe|irmã[o]?|irmã|av[ôó]|tia|tio|prim[oa]|sobrinh[oa]|net[oa]|cunhad[oa]|sogr[oa]|genro|ex-marido|ex-mulher|enteado|enteada|chefe|vizinh[oa]|amig[oa]|colega|sóci[oa]|advogad[oa]|médic[oa]|paciente|client[e]?|inquilin[oa]|locador[a]?|proprietári[oa]|professor[a]?|gerente|atendente|funcionári[oa]|psicólog[oa]|dentista|husband|wife|spouse|partner|boyfriend|girlfriend|fianc[ée]e?|son|daughter|father|mother|brother|sister|grandmother|grandfather|grandma|grandpa|uncle|aunt|cousin|nephew|niece|boss|manager|neighbou?r|friend|colleague|coworker|roommate|tenant|landlord|landlady|lawyer|attorney|doctor|patient|customer|employee|teacher|therapist|nurse|agent|assistant|mum|mom|dad)(?: de \d{1,3} anos)?,?\s*$`,
  "iu",
);
// Written without capitals, after words that leave no doubt.
const uncapitalised = new RegExp(String.raw`${begin}(?:me chamo|meu nome(?: completo)? é|my (?:full )?name is|my name's)\s+(?<value>\p{Ll}[\p{L}'’-]{1,30}(?: \p{Ll}[\p{L}'’-]{0,30}){0,6})`, "giu");

interface Token {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Names in one text. */
export function* findNames(text: string): Generator<Found> {
  for (const pattern of sequences) {
    for (const match of text.matchAll(pattern)) {
      const tokens = tokensOf(match[0], match.index);
      const found = nameIn(tokens, text);
      if (found !== null) yield found;
    }
  }
  for (const match of text.matchAll(uncapitalised)) {
    const value = match.groups?.["value"] ?? "";
    const start = match.index + match[0].length - value.length;
    const end = endOfUncapitalised(tokensOf(value, start));
    if (end > start) yield { start, end, kind: "NOME" };
  }
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
    const before = text.slice(Math.max(0, token.start - contextLength), token.start);
    if (isName(rest, before)) return { start: token.start, end: last.end, kind: "NOME" };
  }
  return null;
}

function isName(tokens: readonly Token[], before: string): boolean {
  const [first = "", ...others] = tokens.map((token) => folded(token.text));
  if (first.length < 2 || neverNames.has(first) || saint.test(before)) return false;
  const known = firstNames.has(first);
  if (known && others.length > 0) return true;
  // HTTP and CPU are capitals too.
  if (!known && tokens.every((token) => token.text === token.text.toUpperCase())) return others.length > 0 && strong.test(before);
  if (strong.test(before)) return true;
  if (known) return weak.test(before) || relation.test(before) || (others.length > 0 && weakBeforeTwo.test(before));
  return first.length >= 3 && relation.test(before);
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
  return Array.from(text.matchAll(/\S+/gu), (match) => ({ text: match[0], start: offset + match.index, end: offset + match.index + match[0].length }));
}
