/** From 32-bit hashes to the numbers 0, 1, 2 … in the order in which they came: open addressing in typed arrays, 12 bytes a hash or less. */

const fullest = 0.6;

export class HashIndex {
  #slots = new Uint32Array(1_024); // number + 1, 0: free
  #hashes = new Uint32Array(1_024);
  #size = 0;

  /** @param hashes all different */
  static of(hashes: Iterable<number>): HashIndex {
    const index = new HashIndex();
    for (const hash of hashes) index.add(hash);
    return index;
  }

  get size(): number {
    return this.#size;
  }

  /** In the order of their numbers. */
  get hashes(): Uint32Array {
    return this.#hashes.subarray(0, this.#size);
  }

  /** The number of a hash, or -1. @param hash with a sign or without */
  find(hash: number): number {
    const wanted = hash | 0;
    const mask = this.#slots.length - 1;
    for (let slot = homeOf(wanted) & mask; ; slot = (slot + 1) & mask) {
      const found = this.#slots[slot] ?? 0;
      if (found === 0) return -1;
      if (((this.#hashes[found - 1] ?? 0) | 0) === wanted) return found - 1;
    }
  }

  /** The number of a hash, which is given one if it has none. @param hash with a sign or without */
  add(hash: number): number {
    const found = this.find(hash);
    if (found >= 0) return found;
    if (this.#size + 1 > this.#slots.length * fullest) this.#rehash(this.#slots.length * 2);
    if (this.#size === this.#hashes.length) {
      const larger = new Uint32Array(2 * this.#size);
      larger.set(this.#hashes);
      this.#hashes = larger;
    }
    this.#hashes[this.#size++] = hash;
    this.#put(hash, this.#size);
    return this.#size - 1;
  }

  #put(hash: number, stored: number): void {
    const mask = this.#slots.length - 1;
    let slot = homeOf(hash) & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = stored;
  }

  #rehash(length: number): void {
    this.#slots = new Uint32Array(length);
    for (let at = 0; at < this.#size; at++) this.#put(this.#hashes[at] ?? 0, at + 1);
  }
}

const homeOf = (hash: number) => Math.imul(hash, 0x9e3779b1) >>> 7;
