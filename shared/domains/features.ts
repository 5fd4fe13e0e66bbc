/**
 * A text as the classifier counts it: its words and the pairs of neighbours in one clause, as 32-bit hashes with how often each comes. No string is made: of
 * 40,000 features of a model one in 100,000 strange ones looks like a known one.
 */
import type { Lexeme, Word } from "./words.ts";

export interface Features {
  /** Even: words; odd: pairs. In the order of their first place. */
  readonly hashes: Uint32Array;
  readonly counts: Uint16Array;
}

export const isPair = (hash: number) => (hash & 1) === 1;

/** A topic shows early. */
const mostWords = 400;

// One table that is used again for each text: a slot counts when its stamp is the present one.
const slots = 2_048;
// Within this file hashes have a sign: an integer of 31 bits and a sign lies in the object or register itself, a larger number in a place of its own.
const keys = new Int32Array(slots);
const places = new Uint16Array(slots);
const stamps = new Uint32Array(slots);
let stamp = 0;
const hashes = new Uint32Array(2 * mostWords);
const counts = new Uint16Array(2 * mostWords);
let size = 0;

export function featuresOf(words: readonly Word[]): Features {
  if (stamp === 0xffffffff) stamps.fill(0);
  stamp = stamp === 0xffffffff ? 1 : stamp + 1;
  size = 0;
  let before = 0;
  const length = Math.min(words.length, mostWords);
  for (let at = 0; at < length; at++) {
    const word = words[at];
    if (word === undefined) break;
    const hash = signedHashOf(word.lexeme);
    count(hash);
    if (at > 0 && !word.breakBefore) count(pairOf(before, hash));
    before = hash;
  }
  return { hashes: hashes.slice(0, size), counts: counts.slice(0, size) };
}

/** The hash of one word. */
export const hashOfWord = (lexeme: Lexeme) => signedHashOf(lexeme) >>> 0;

const signedHashOf = (lexeme: Lexeme) => (lexeme.hash ??= hashOf(lexeme));

function count(hash: number): void {
  let slot = Math.imul(hash, 0x9e3779b1) >>> 21;
  while (stamps[slot] === stamp && keys[slot] !== hash) slot = (slot + 1) & (slots - 1);
  if (stamps[slot] === stamp) {
    const place = places[slot] ?? 0;
    counts[place] = (counts[place] ?? 0) + 1;
    return;
  }
  stamps[slot] = stamp;
  keys[slot] = hash;
  places[slot] = size;
  hashes[size] = hash;
  counts[size++] = 1;
}

function hashOf({ exact }: Lexeme): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < exact.length; at++) {
    hash = Math.imul(hash ^ exact.charCodeAt(at), 0x01000193);
    hash ^= hash >>> 15;
  }
  return mix(hash) & ~1;
}

const pairOf = (first: number, second: number) => mix((Math.imul(first, 0x9e3779b1) + (second >>> 1)) | 0) | 1;

function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

/** How often something comes counts as a logarithm. */
const weights = Float64Array.from({ length: mostWords + 1 }, (_, times) => (times === 0 ? 0 : 1 + Math.log(times)));
export const weightOf = (times: number) => weights[times] ?? 0;
