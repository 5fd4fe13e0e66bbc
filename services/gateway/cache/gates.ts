/**
 * The second gate of the semantic tier. Vectors of "take 5 mg" and "take 50 mg" nearly coincide; a hit must also agree in everything here.
 * Each gate reads a signature off a text, and two texts pass when their signatures are equal; so the gates of an entry fit into one key, and
 * the index only ever compares vectors of texts that pass all of them.
 */
import { sha256 } from "../../../shared/events/conversation.ts";
import { languages } from "./language.ts";
import { fold, splitWords, type Reading } from "./text.ts";

interface Gate {
  readonly name: string;
  readonly signature: (text: string, reading: Reading) => string;
}

const negations = new Set([...languages.pt.negations, ...languages.en.negations].filter((word) => word !== "no"));

/** One row per thing that must be the same. A changed row needs a new `gateVersion`, or old entries meet new ones. */
export const gates: readonly Gate[] = [
  { name: "numbers", signature: (text) => (text.normalize("NFC").match(/\p{N}+(?:[.,:/-]\p{N}+)*/gu) ?? []).join(" ") },
  // Signs and units that words don't carry: < > = + - % $ € ° # (C, C++ and C# are three languages), and the dot of .NET.
  { name: "symbols", signature: (text) => (text.match(/[\p{Sc}\p{Sm}%°#@&*^~\\|]|(?<![\p{L}\p{N}])[-./](?=[\p{L}\p{N}])/gu) ?? []).join("") },
  // In order and with their neighbours: "not A but B" is not "A but not B". The Portuguese `no` is a preposition, so `no` counts in English only.
  { name: "negation", signature: (_text, { words, language }) => words.flatMap((word, at) => (negations.has(word) || (word === "no" && language !== "pt") ? [`${word}>${words[at + 1] ?? ""}`] : [])).join(" ") },
  { name: "language", signature: (_text, { language }) => language },
  { name: "entities", signature: (text) => entitiesOf(text).join(" ") },
  { name: "accents", signature: ambiguousWords },
  // The built-in embedding knows spelling, not meaning: one changed word in a long question moves its vector by less than the threshold.
  { name: "words", signature: (_text, { words }) => words.join(" ") },
];
const gateVersion = 1;

/** The gates of a text as one key; null when nothing is left to compare (greetings, emoji) and only an exact hit can be right. */
export function gateKey(text: string, reading: Reading): string | null {
  if (reading.words.length === 0) return null;
  return sha256(JSON.stringify([gateVersion, ...gates.map((gate) => gate.signature(text, reading))]));
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
    if (inner || (!begins && /^\p{Lu}/u.test(word) && word !== "I")) found.push(fold(word));
  }
  return found;
}

/** Folded spellings of words that are two words (avó and avô, faca and faça): these count as they were typed, accents and all. */
const twoWords = new Set("avo avos pode secretaria pais coco bebe sabia maio camelo forca faca louca moca peca roca laco caca calcado cocar forma copia metro resume expose".split(" "));

function ambiguousWords(text: string, { words }: Reading): string {
  const isAmbiguous = (folded: string) => twoWords.has(folded) && words.includes(folded);
  return splitWords(text.normalize("NFC").toLowerCase()).filter((word) => isAmbiguous(fold(word))).join(" ");
}
