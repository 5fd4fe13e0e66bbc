/**
 * What the semantic tier asks of an embedding, and the built-in one: words, word pairs and character n-grams of a text, hashed into one unit
 * vector. Nothing to download, some tens of microseconds a question, Portuguese and English alike. It knows how texts are spelled and little of
 * what they mean; gates.ts is strict because of that.
 */
import { languages } from "./language.ts";
import type { Reading } from "./text.ts";

export interface Embedding {
  readonly dimension: number;
  /** Part of every index key: vectors of two embeddings never meet. */
  readonly identity: string;
  /** Whether near vectors mean near meanings. Where they don't, every word must agree as well. */
  readonly knowsMeaning: boolean;
  /** A unit vector. */
  embed(reading: Reading): Float32Array | Promise<Float32Array>;
}

/** Longer texts only hit exactly: hashing them costs more than it finds. */
export const longestText = 4_000;

const dimension = 384;
const wordWeight = 1;
const pairWeight = 0.3;
const characterWeight = 1;
/** Function words carry little of what a question is about; the gates compare those that turn it into another. */
const functionWeight = 0.3;

const functionWords: ReadonlySet<string> = new Set([...languages.pt.marks, ...languages.en.marks, "do", "my", "me", "just", "so", "it", "now", "get", "any", "some", "want", "need", "also"]);

export const builtIn: Embedding = { dimension, identity: "ngram-384-v2", knowsMeaning: false, embed: embedNgrams };

/** Of both languages: enough to bring the forms of a word together, without a dictionary. Never used by the gates. */
const suffixes = ["mente", "coes", "cao", "oes", "ando", "endo", "indo", "ados", "adas", "ado", "ada", "idos", "idas", "ido", "ida", "ing", "ed", "es", "os", "as", "ly", "er", "ar", "ir", "s", "e", "o", "a"];

function stem(word: string): string {
  if (word.length <= 4) return word;
  const suffix = suffixes.find((each) => word.endsWith(each) && word.length - each.length >= 3);
  return suffix === undefined ? word : word.slice(0, -suffix.length);
}

function embedNgrams({ words }: Reading): Float32Array {
  const vector = new Float32Array(dimension);
  let before = "^";
  for (const word of words) {
    const weight = functionWords.has(word) ? functionWeight : 1;
    const stemmed = stem(word);
    add(vector, hash(stemmed, 0x11), wordWeight * weight);
    add(vector, hash(`${before} ${stemmed}`, 0x23), pairWeight * weight);
    before = stemmed;
    const padded = `<${word}>`;
    const count = Math.max(1, padded.length - 2) + Math.max(0, padded.length - 3);
    // Each word weighs the same, however long it is.
    const share = (characterWeight * weight) / Math.sqrt(count);
    for (let size = 3; size <= 4; size++) for (let at = 0; at + size <= padded.length; at++) add(vector, hash(padded, 0x47, at, at + size), share);
  }
  return normalise(vector);
}

/** FNV-1a over part of a text, mixed once more (murmur3's finaliser), for its low bits alone would be poor. */
function hash(text: string, seed: number, from = 0, to = text.length): number {
  let value = 0x811c9dc5 ^ seed;
  for (let at = from; at < to; at++) {
    value ^= text.charCodeAt(at);
    value = Math.imul(value, 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return value ^ (value >>> 16);
}

/** The top bit gives the sign, so that collisions cancel on average instead of adding up. */
function add(vector: Float32Array, hashed: number, weight: number): void {
  const slot = (hashed & 0x7fffffff) % dimension;
  vector[slot] = (vector[slot] ?? 0) + (hashed < 0 ? -weight : weight);
}

export function normalise(vector: Float32Array): Float32Array {
  let sum = 0;
  for (const value of vector) sum += value * value;
  if (sum === 0) return vector;
  const scale = 1 / Math.sqrt(sum);
  return vector.map((value) => value * scale);
}

/** Of unit vectors: 1 = the same direction. */
export function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += (a[at] ?? 0) * (b[at] ?? 0);
  return sum;
}

/** As Redis keeps it: little-endian float32. */
export function toBytes(vector: Float32Array): Buffer {
  const bytes = Buffer.alloc(4 * vector.length);
  vector.forEach((value, at) => bytes.writeFloatLE(value, 4 * at));
  return bytes;
}

/** undefined when these bytes are not a vector of this length. */
export function fromBytes(bytes: Buffer, length: number): Float32Array | undefined {
  if (bytes.length !== 4 * length) return undefined;
  return Float32Array.from({ length }, (_value, at) => bytes.readFloatLE(4 * at));
}
