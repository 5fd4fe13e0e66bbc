/**
 * Which words of a text are ruled out by their writer: "não é sobre meu pedido", "I don't need a lawyer". Only cues that deny a topic count. A
 * plain "não" or "not" does not: "não consigo acessar minha conta" is about an account, "o paciente não tem febre" is about a patient.
 */
import { wordsOf, type Lexeme, type Word } from "./words.ts";

interface Cue {
  readonly words: readonly string[];
  /** How many words after the cue it reaches, unless a clause ends before. */
  readonly reach: number;
}

const table: readonly [reach: number, ...cues: string[]][] = [
  [5, "não é sobre", "não é uma questão de", "não é um caso de", "não é questão de", "não é caso de", "não é assunto de", "não tem a ver com", "não tem nada a ver com", "nada a ver com", "não se trata de", "não estou falando de", "não estou perguntando sobre", "não quero falar de", "não quero falar sobre", "não diz respeito a", "não me refiro a", "não quero dizer"],
  [4, "não preciso de", "não preciso do", "não preciso da", "não preciso falar com", "não quero um", "não quero uma", "não procuro", "não busco", "sem precisar de", "em vez de", "ao invés de", "nem sobre", "não é problema de", "não é problema do", "não é problema com"],
  [2, "não é um", "não é uma", "não é o", "não é a", "não sou", "não somos", "nenhum", "nenhuma"],
  [5, "not about", "isn't about", "not a question about", "not a question of", "not asking about", "not asking for", "not talking about", "nothing to do with", "not related to", "not regarding", "not a matter of", "don't mean", "do not mean"],
  [4, "don't need", "do not need", "doesn't need", "don't want", "do not want", "not looking for", "no need for", "rather than", "instead of", "not a problem with", "without needing", "isn't a problem with"],
  [2, "not a", "not an", "not my", "isn't a", "isn't an", "i'm not", "i am not"],
];

/** Longest first, by their first word: "não é sobre" must win over "não é o". */
const cues = new Map<string, Cue[]>();
for (const [reach, ...phrases] of table) {
  for (const phrase of phrases) {
    const words = wordsOf(phrase).map(({ lexeme }) => lexeme.plain);
    const first = words[0] ?? "";
    cues.set(first, [...(cues.get(first) ?? []), { words, reach }].sort((a, b) => b.words.length - a.words.length));
  }
}

/** Words that start what the writer does want ("…, just my order", "mas sim o pedido"). */
const turns = new Set(["mas", "porem", "so", "apenas", "somente", "sim", "e", "para", "porque", "but", "just", "only", "and", "for", "to", "unless", "because"]);

const none: readonly Cue[] = [];
const cuesOf = (lexeme: Lexeme) => (lexeme.cues ??= cues.get(lexeme.plain) ?? none) as readonly Cue[];

/** Places of the words that a denied topic covers. */
export function negatedPlaces(words: readonly Word[]): ReadonlySet<number> {
  const negated = new Set<number>();
  for (let at = 0; at < words.length; at++) {
    const cue = cueAt(words, at);
    if (cue === undefined) continue;
    const start = at + cue.words.length;
    for (let place = start; place < start + cue.reach; place++) {
      const word = words[place];
      if (word === undefined || word.breakBefore || turns.has(word.lexeme.plain)) break;
      negated.add(place);
    }
    at = start - 1;
  }
  return negated;
}

function cueAt(words: readonly Word[], at: number): Cue | undefined {
  const lexeme = words[at]?.lexeme;
  if (lexeme !== undefined) for (const cue of cuesOf(lexeme)) if (standsAt(cue, words, at)) return cue;
  return undefined;
}

function standsAt(cue: Cue, words: readonly Word[], at: number): boolean {
  for (let offset = 1; offset < cue.words.length; offset++) {
    const word = words[at + offset];
    if (word?.breakBefore !== false || word.lexeme.plain !== cue.words[offset]) return false;
  }
  return true;
}
