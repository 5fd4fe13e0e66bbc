/**
 * What naive Bayes learns from: how often each feature came in each domain. These are sums, so that a new row is added to them and nothing is read again; and
 * sums can be halved, so that a domain's newest rows weigh most.
 */
import { isPair, weightOf, type Features } from "./features.ts";
import { HashIndex } from "./hash_index.ts";

/** Distinct features that are kept; beyond it the rarest pairs go. */
const mostKept = 1 << 19;

export class Counts {
  readonly classes: readonly string[];
  /** Rows of each class. */
  readonly rows: Float64Array;
  #index = new HashIndex();
  /** Weight by feature and class. */
  #sums: Float64Array;
  /** In how many rows each feature is. */
  #documents: Float64Array;

  constructor(classes: readonly string[]) {
    this.classes = classes;
    this.rows = new Float64Array(classes.length);
    this.#sums = new Float64Array(1_024 * classes.length);
    this.#documents = new Float64Array(1_024);
  }

  get size(): number {
    return this.#index.size;
  }

  get hashes(): Uint32Array {
    return this.#index.hashes;
  }

  sum(feature: number, at: number): number {
    return this.#sums[feature * this.classes.length + at] ?? 0;
  }

  documents(feature: number): number {
    return this.#documents[feature] ?? 0;
  }

  /** @param times 1; -1 takes a row out again that was added */
  add({ hashes, counts }: Features, at: number, times = 1): void {
    if (this.#index.size + hashes.length > mostKept) this.#prune();
    const width = this.classes.length;
    this.rows[at] = (this.rows[at] ?? 0) + times;
    for (let place = 0; place < hashes.length; place++) {
      // With a sign it is handed on as it is, without one as an object.
      const feature = this.#index.add((hashes[place] ?? 0) | 0);
      if (feature >= this.#documents.length) this.#grow();
      const cell = feature * width + at;
      this.#sums[cell] = (this.#sums[cell] ?? 0) + times * weightOf(counts[place] ?? 0);
      this.#documents[feature] = (this.#documents[feature] ?? 0) + times;
    }
  }

  /** All that a class has counts half from now on. */
  halve(at: number): void {
    const width = this.classes.length;
    this.rows[at] = (this.rows[at] ?? 0) / 2;
    for (let feature = 0; feature < this.size; feature++) {
      const cell = feature * width + at;
      this.#sums[cell] = (this.#sums[cell] ?? 0) / 2;
    }
  }

  #grow(): void {
    const [sums, documents] = [new Float64Array(2 * this.#sums.length), new Float64Array(2 * this.#documents.length)];
    sums.set(this.#sums);
    documents.set(this.#documents);
    [this.#sums, this.#documents] = [sums, documents];
  }

  /** Pairs that came least often go until a quarter is free: what comes once may never come again (Manku and Motwani 2002). */
  #prune(): void {
    const width = this.classes.length;
    const [index, sums, documents] = [this.#index, this.#sums, this.#documents];
    for (let least = 2; this.#index.size > mostKept * 0.75; least++) {
      this.#index = new HashIndex();
      this.#sums = new Float64Array(sums.length);
      this.#documents = new Float64Array(documents.length);
      for (const [feature, hash] of index.hashes.entries()) {
        // So many different words are no language: then the rarest of them go, too.
        if ((documents[feature] ?? 0) < least && (isPair(hash) || least > 8)) continue;
        const kept = this.#index.add(hash);
        this.#documents[kept] = documents[feature] ?? 0;
        for (let at = 0; at < width; at++) this.#sums[kept * width + at] = sums[feature * width + at] ?? 0;
      }
    }
  }
}
