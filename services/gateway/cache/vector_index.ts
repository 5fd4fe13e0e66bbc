/**
 * The semantic tier's index, in this process: vectors by partition (scope and gates), found through their sketches and then compared. Texts that
 * fail a gate are in another partition. Holds no answers: those stay in Redis, whose time to live decides.
 */
import { countBits, mostBits, Sketcher, sketchWords } from "./sketch.ts";
import { Slots } from "./slots.ts";

export interface IndexEntry {
  readonly id: string;
  /** Hash of scope, embedding and gates: only within one are vectors compared. */
  readonly partition: string;
  readonly vector: Float32Array;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

export interface Candidate {
  readonly id: string;
  readonly similarity: number;
}

/** About 1.4 kB an entry with 384 dimensions. Beyond it the oldest go: they only cost a hit. */
const mostEntries = 131_072;
/** Up to here comparing all is as fast as choosing. */
const small = 64;
/** Entries that are looked at in one go when the index is swept. */
const sweepPiece = 2_000;

interface Place {
  readonly partition: string;
  readonly slot: number;
  /** Where the slot stands in its partition's list. */
  at: number;
}

interface Partition {
  readonly ids: string[];
  readonly slots: number[];
  /** Its slots have sketches. A small partition needs none, and under the strict gate nearly all stay small; a sketch takes half of the time of a put. */
  sketched: boolean;
}

export class VectorIndex {
  readonly #sketcher: Sketcher;
  readonly #slots: Slots;
  readonly #places = new Map<string, Place>();
  readonly #partitions = new Map<string, Partition>();

  constructor(dimension: number) {
    this.#sketcher = new Sketcher(dimension);
    this.#slots = new Slots(dimension);
  }

  get size(): number {
    return this.#places.size;
  }

  has(id: string): boolean {
    return this.#places.has(id);
  }

  put({ id, partition, vector, expiresAt }: IndexEntry): void {
    this.remove(id);
    const slot = this.#slots.put(vector, expiresAt);
    const list: Partition = this.#partitions.get(partition) ?? { ids: [], slots: [], sketched: false };
    if (list.ids.length === 0) this.#partitions.set(partition, list);
    this.#places.set(id, { partition, slot, at: list.ids.length });
    list.ids.push(id);
    list.slots.push(slot);
    if (list.sketched) this.#slots.setSketch(slot, this.#sketcher.sketch(vector));
    else if (list.slots.length > small) {
      list.sketched = true;
      for (const each of list.slots) this.#slots.setSketch(each, this.#sketcher.sketch(this.#slots.vector(each)));
    }
    if (this.#places.size > mostEntries) for (const oldest of this.#places.keys()) return this.remove(oldest);
  }

  remove(id: string): void {
    const place = this.#places.get(id);
    if (place === undefined) return;
    this.#places.delete(id);
    this.#slots.remove(place.slot);
    const list = this.#partitions.get(place.partition);
    const [lastId, lastSlot] = [list?.ids.pop(), list?.slots.pop()];
    if (list === undefined || lastId === undefined || lastSlot === undefined) return;
    if (list.ids.length === 0 && lastId === id) this.#partitions.delete(place.partition);
    if (lastId === id) return;
    list.ids[place.at] = lastId;
    list.slots[place.at] = lastSlot;
    const moved = this.#places.get(lastId);
    if (moved !== undefined) moved.at = place.at;
  }

  /** Those of the partition with at least this cosine, nearest first, at most `count`. */
  nearest(query: Pick<IndexEntry, "partition" | "vector">, least: number, count: number, now = Date.now()): Candidate[] {
    const list = this.#partitions.get(query.partition);
    if (list === undefined) return [];
    const found: Candidate[] = [];
    const compare = (at: number) => {
      const slot = list.slots[at] ?? 0;
      if (this.#slots.expiresAt(slot) <= now) return;
      const similarity = this.#slots.cosine(slot, query.vector);
      if (similarity >= least) found.push({ id: list.ids[at] ?? "", similarity });
    };
    if (!list.sketched) for (let at = 0; at < list.slots.length; at++) compare(at);
    else for (const at of this.#alike(list.slots, query.vector, least)) compare(at);
    return found.sort((a, b) => b.similarity - a.similarity).slice(0, count);
  }

  /** Takes out what has expired, a piece at a time: a look at a hundred thousand entries at once would keep requests waiting. */
  *sweep(now = Date.now()): Generator<void, void, undefined> {
    let looked = 0;
    for (const [id, { slot }] of this.#places) {
      if (this.#slots.expiresAt(slot) <= now) this.remove(id);
      if (++looked % sweepPiece === 0) yield;
    }
  }

  /** Where in the list the sketches are near enough. The loop that a large partition's look-up consists of. */
  #alike(slots: readonly number[], vector: Float32Array, least: number): number[] {
    const [a = 0, b = 0, c = 0, d = 0] = this.#sketcher.sketch(vector);
    const { sketches } = this.#slots;
    const most = mostBits(least);
    const found: number[] = [];
    for (let at = 0; at < slots.length; at++) {
      const from = (slots[at] ?? 0) * sketchWords;
      const first = countBits((sketches[from] ?? 0) ^ a) + countBits((sketches[from + 1] ?? 0) ^ b);
      if (first > most) continue;
      if (first + countBits((sketches[from + 2] ?? 0) ^ c) + countBits((sketches[from + 3] ?? 0) ^ d) <= most) found.push(at);
    }
    return found;
  }
}
