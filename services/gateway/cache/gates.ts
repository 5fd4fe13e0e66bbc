/**
 * The second gate of the semantic tier. Vectors of "take 5 mg" and "take 50 mg" nearly coincide; a hit must also agree in everything here.
 * Each gate reads a signature off a text, and two texts pass when their signatures are equal; so the gates of an entry fit into one key, and
 * the index only ever compares vectors of texts that pass all of them. What the gates can't see is told in docs/cache.md.
 */
import { sha256 } from "../../../shared/events/conversation.ts";
import { languages } from "./language.ts";
import { fold, splitWords, type Reading } from "./text.ts";

interface Gate {
  readonly name: string;
  readonly signature: (reading: Reading) => string;
}

const negations = new Set([...languages.pt.negations, ...languages.en.negations].filter((word) => word !== "no"));

/** One row per thing that must be the same. A changed row needs a new `gateVersion`, or old entries meet new ones. */
const gates: readonly Gate[] = [
  // With the word behind it, which may be its unit: 5 mg, 5 ml, 3 days.
  { name: "numbers", signature: numbersOf },
  // Signs and units that words don't carry: < > = + - % $ € ° # (C, C++ and C# are three languages), and the dot of .NET.
  { name: "symbols", signature: ({ text }) => (text.match(/[\p{Sc}\p{Sm}%°#@&*^~\\|]|(?<![\p{L}\p{N}])[-./](?=[\p{L}\p{N}])/gu) ?? []).join("") },
  // In order and with their neighbours: "not A but B" is not "A but not B". The Portuguese `no` is a preposition, so `no` counts in English only.
  { name: "negation", signature: ({ words, language }) => words.flatMap((word, at) => (negations.has(word) || (word === "no" && language !== "pt") ? [`${word}>${words[at + 1] ?? ""}`] : [])).join(" ") },
  { name: "language", signature: ({ language }) => language },
  { name: "entities", signature: ({ text }) => entitiesOf(text).join(" ") },
  { name: "accents", signature: accentsOf },
  { name: "mood", signature: moodOf },
  // Who, when, whose, from where to where, more or less, before or after: in order.
  { name: "frame", signature: ({ words, language }) => words.filter((word) => language === "unknown" || languages[language].frame.has(word)).join(" ") },
];
const gateVersion = 2;

export interface Gated {
  /** Numbers, units, signs, negation, language, names, mood, frame. */
  readonly facts: string;
  /** All the words that carry meaning, in order: the built-in embedding knows spelling, and one changed word in a long question moves its vector by less than the threshold. */
  readonly words: string;
  /** The same without their order. Who has the same words in another order has turned something round: from A to B, from B to A. */
  readonly bag: string;
}

/** The gates of a text as two keys; null when nothing is left to compare (greetings, emoji) and only an exact hit can be right. */
export function gateOf(reading: Reading): Gated | null {
  if (reading.words.length === 0) return null;
  return { facts: sha256(JSON.stringify([gateVersion, ...gates.map((gate) => gate.signature(reading))])), words: digest(reading.words), bag: digest([...reading.words].sort()) };
}

function digest(words: readonly string[]): string {
  return sha256(JSON.stringify(words)).slice(0, 32);
}

function numbersOf({ text }: Reading): string {
  const found = text.normalize("NFC").toLowerCase().match(/\p{N}+(?:[.,:/-]\p{N}+)*(?:\s*[\p{L}µμ]+(?:\/[\p{L}µμ]+)?)?/gu) ?? [];
  return found.map((each) => each.replace(/\s+/g, "")).join(" ");
}

/** Words with a capital letter that doesn't merely begin a sentence. A text in capitals throughout names nobody that way. */
function entitiesOf(text: string): string[] {
  const normal = text.normalize("NFC");
  if (!/\p{Ll}/u.test(normal)) return [];
  const found: string[] = [];
  for (const match of normal.matchAll(/[\p{L}\p{N}][\p{L}\p{N}\p{M}]*/gu)) {
    const word = match[0];
    const before = normal.slice(Math.max(0, match.index - 16), match.index).trimEnd();
    const begins = before === "" || /[.!?:;\n,]["')\]]*$/u.test(before);
    // An inner capital (iPhone, SQL, McDonald) is a name wherever it stands.
    const inner = /^.+\p{Lu}/u.test(word);
    if (inner || (!begins && /^\p{Lu}/u.test(word) && word !== "I")) found.push(inner && word.length <= 4 ? word : fold(word)); // iOS is not IOS, US is not us; WhatsApp may be Whatsapp
  }
  return found;
}

/** Folded spellings of words that are two words (avó and avô, faca and faça): these count as they were typed, accents and all. */
const twoWords = new Set(
  "avo avos pode secretaria pais coco bebe sabia maio camelo forca faca louca moca peca roca laco caca calcado cocar forma copia metro resume expose maca bone cara baba la pe pa po nos mas as so tres forro roma irma romao ana lanca balanca calca poco peco praca medica".split(" "),
);

/** In a language that we don't know every accent may make another word. */
function accentsOf({ text, language, words }: Reading): string {
  const typed = splitWords(text.normalize("NFC").toLowerCase());
  if (language === "unknown") return typed.filter((word) => fold(word) !== word).join(" ");
  const isAmbiguous = (folded: string) => twoWords.has(folded) && words.includes(folded);
  return typed.filter((word) => isAmbiguous(fold(word))).join(" ");
}

/** "O pedido foi cancelado." tells and "O pedido foi cancelado?" asks; where a question word comes first the mark adds nothing. */
function moodOf({ text, language, words }: Reading): string {
  const [first] = words;
  if (language !== "unknown" && first !== undefined && languages[language].asks.has(first)) return "asks";
  return text.includes("?") ? "asks with a mark" : "tells";
}
