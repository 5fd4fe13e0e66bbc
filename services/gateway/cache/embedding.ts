/**
 * The built-in embedding: words, word pairs and character n-grams of a text, hashed into one float32 unit vector. Nothing to download, some
 * tens of microseconds a question, Portuguese and English alike. It knows how texts are spelled and not what they mean; gates.ts is strict
 * because of that.
 */
import type { Reading } from "./text.ts";

export const embedder = "ngram-384-v1";
export const dimensions = 384;

/** Longer texts only hit exactly: hashing them costs more than it finds. */
export const longestText = 4_000;

const wordWeight = 1;
const pairWeight = 0.5;
const characterWeight = 1;

export function embed({ words }: Reading): Float32Array {
  const vector = new Float32Array(dimensions);
  let before = "^";
  for (const word of words) {
    add(vector, `w ${word}`, wordWeight);
    add(vector, `p ${before} ${word}`, pairWeight);
    before = word;
    const padded = `<${word}>`;
    const grams = characterGrams(padded);
    // Each word weighs the same, however long it is.
    for (const gram of grams) add(vector, `c ${gram}`, characterWeight / Math.sqrt(grams.length));
  }
  return normalise(vector);
}

/** Of unit vectors: 1 = the same direction. */
export function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let at = 0; at < dimensions; at++) sum += (a[at] ?? 0) * (b[at] ?? 0);
  return sum;
}

/** As Redis keeps it: little-endian float32. */
export function toBytes(vector: Float32Array): Buffer {
  const bytes = Buffer.alloc(4 * vector.length);
  vector.forEach((value, at) => bytes.writeFloatLE(value, 4 * at));
  return bytes;
}

/** undefined when these bytes are not a vector of this embedding. */
export function fromBytes(bytes: Buffer): Float32Array | undefined {
  if (bytes.length !== 4 * dimensions) return undefined;
  return Float32Array.from({ length: dimensions }, (_value, at) => bytes.readFloatLE(4 * at));
}

function characterGrams(padded: string): string[] {
  const grams: string[] = [];
  for (const size of [3, 4]) for (let at = 0; at + size <= padded.length; at++) grams.push(padded.slice(at, at + size));
  return grams.length > 0 ? grams : [padded];
}

/** FNV-1a; its top bit gives the sign, so that collisions cancel on average instead of adding up. */
function add(vector: Float32Array, feature: string, weight: number): void {
  let hash = 0x811c9dc5;
  for (let at = 0; at < feature.length; at++) {
    hash ^= feature.charCodeAt(at);
    hash = Math.imul(hash, 0x01000193);
  }
  hash ^= hash >>> 15;
  const slot = (hash & 0x7fffffff) % dimensions;
  vector[slot] = (vector[slot] ?? 0) + (hash < 0 ? -weight : weight);
}

function normalise(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}
