/** MinHash: a fixed-size sketch of a text's character 5-grams, from which the Jaccard similarity of two texts can be estimated. */

export const bands = 21;
export const rowsOfBand = 6;
/** 21 bands of 6: a pair with J = 0.8 shares a band with probability 0.998, one with J = 0.3 with 0.015. */
export const signatureLength = bands * rowsOfBand;
const gram = 5;

// Fixed multipliers and offsets from a small generator: the same text has the same sketch in every process.
const multipliers = new Int32Array(signatureLength);
const offsets = new Int32Array(signatureLength);
let seed = 0x9e3779b9;
const next = () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return mixed ^ (mixed >>> 14);
};
for (let at = 0; at < signatureLength; at++) {
  multipliers[at] = next() | 1;
  offsets[at] = next();
}

/** Case, accents' spelling, punctuation and spaces make no difference. */
export function canonicalText(text: string): string {
  return text
    .normalize("NFKC")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim();
}

export function signatureOf(text: string): Uint32Array {
  const signature = new Uint32Array(signatureLength).fill(0xffffffff);
  const canonical = canonicalText(text);
  const last = Math.max(0, canonical.length - gram);
  const seen = new Set<number>();
  for (let start = 0; start <= last; start++) {
    let hash = 0x811c9dc5;
    for (let at = start; at < start + gram && at < canonical.length; at++) hash = Math.imul(hash ^ canonical.charCodeAt(at), 0x01000193);
    hash ^= hash >>> 15;
    if (seen.has(hash)) continue;
    seen.add(hash);
    for (let at = 0; at < signatureLength; at++) {
      let value = Math.imul(hash, multipliers[at] ?? 1) + (offsets[at] ?? 0);
      value = (value ^ (value >>> 16)) >>> 0;
      if (value < (signature[at] ?? 0)) signature[at] = value;
    }
  }
  return signature;
}

/** Estimate of the Jaccard similarity, with a standard error of about 0.04 near 0.8. */
export function similarity(a: Uint32Array, b: Uint32Array): number {
  let equal = 0;
  for (let at = 0; at < signatureLength; at++) if (a[at] === b[at]) equal++;
  return equal / signatureLength;
}

/** One number per band: texts that share one are candidates. */
export function bandKeys(signature: Uint32Array): number[] {
  const keys: number[] = [];
  for (let band = 0; band < bands; band++) {
    let hash = 0x811c9dc5;
    for (let at = band * rowsOfBand; at < (band + 1) * rowsOfBand; at++) hash = Math.imul(hash ^ (signature[at] ?? 0), 0x01000193) ^ (hash >>> 13);
    keys.push(band * 2 ** 32 + (hash >>> 0));
  }
  return keys;
}
