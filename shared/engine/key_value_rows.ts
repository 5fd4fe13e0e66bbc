/**
 * The key/value caches of the sequences of one batch: for each layer an array of keys and one of values [R, K, C, S], of which a batch of the first n rows is
 * a prefix. So a row's token costs no copy, and a graph reads the arrays in place. A row that leaves is filled by the last one. Not responsible for
 * whose row it is.
 */
import type { ModelConfig } from "../models/config.ts";
import type { Sized } from "../tensor/compile.ts";

/** Capacities are multiples of this. */
const step = 64;

type Shape = Pick<ModelConfig, "layers" | "keyValueHeads" | "headSize">;

export class KeyValueRows {
  readonly #shape: Shape;
  #parts: Float32Array[] = [];
  #room = 0;
  #capacity: number;
  #count = 0;
  /** What was given out last: most steps have the same rows, and who takes the same arrays again need not look at them again. */
  #given: { readonly from: number; readonly to: number; readonly inputs: readonly Sized[] } | null = null;

  /** @param capacity positions of a row */
  constructor(shape: Shape, capacity: number) {
    this.#shape = shape;
    this.#capacity = KeyValueRows.capacityFor(capacity);
  }

  /** What a cache for so many positions begins with. */
  static capacityFor(positions: number): number {
    return roundUp(positions);
  }

  get count(): number {
    return this.#count;
  }

  get capacity(): number {
    return this.#capacity;
  }

  get bytes(): number {
    return this.#parts.reduce((sum, part) => sum + part.byteLength, 0);
  }

  /** Index of the first of so many new rows; their content is whatever was there before. */
  add(rows = 1): number {
    const first = this.#count;
    if (first + rows > this.#room) this.#resize(Math.max(first + rows, 2 * this.#room), this.#capacity);
    this.#count += rows;
    return first;
  }

  /** @param length of the last row, which takes the place @returns index of the row that has now the index `row`, or null when it was the last */
  remove(row: number, length: number): number | null {
    const last = --this.#count;
    if (row === last) return null;
    this.copy(last, length, this, row);
    return last;
  }

  /** Whether keys and values of a row's position are numbers. Where they are none, so are all behind it. */
  isSound(row: number, position: number): boolean {
    const { headSize } = this.#shape;
    let sound = true;
    this.#each(row, position, (part, start) => {
      for (let at = start; at < start + headSize; at++) sound &&= Number.isFinite(part[at]);
    });
    return sound;
  }

  /** Writes zeros over a row: what is no number would spoil who comes next, though masks give it no weight (0 · NaN is NaN). */
  wipe(row: number): void {
    const length = this.#capacity * this.#shape.headSize;
    this.#each(row, 0, (part, start) => part.fill(0, start, start + length));
  }

  /** Makes room for so many positions in each row, and a quarter more, so that growing costs little for each. */
  reserve(positions: number, most: number): void {
    if (positions > this.#capacity) this.#resize(this.#room, Math.max(roundUp(positions), Math.min(roundUp(this.#capacity * 1.25), most)));
  }

  /** Rows `from` up to `to` of every array: keys and values of each layer in turn, [to − from, K, C, S]. */
  inputs(from: number, to: number): readonly Sized[] {
    if (this.#given?.from === from && this.#given.to === to) return this.#given.inputs;
    const { keyValueHeads, headSize } = this.#shape;
    const shape = [to - from, keyValueHeads, this.#capacity, headSize];
    const size = keyValueHeads * this.#capacity * headSize;
    const inputs = this.#parts.map((part) => ({ values: part.subarray(from * size, to * size), shape }));
    this.#given = { from, to, inputs };
    return inputs;
  }

  /**
   * Writes new positions of a row. @param own [B, K, 2·layers·T, S] as models/decode.ts returns it; @param from the row's index in it; @param length T
   * @param used how many of the T are written
   */
  write(row: number, position: number, own: Float32Array, from: number, length: number, used = length): void {
    const { keyValueHeads, headSize } = this.#shape;
    const parts = this.#parts.length;
    for (let head = 0; head < keyValueHeads; head++) {
      const base = (from * keyValueHeads + head) * parts * length * headSize;
      const to = ((row * keyValueHeads + head) * this.#capacity + position) * headSize;
      this.#parts.forEach((part, at) => {
        copyNumbers(own, base + at * length * headSize, used * headSize, part, to);
      });
    }
  }

  /** The first positions of a row into a row of another (or the same) cache. */
  copy(row: number, length: number, into: KeyValueRows, at: number): void {
    const { keyValueHeads, headSize } = this.#shape;
    for (let head = 0; head < keyValueHeads; head++) {
      const from = (row * keyValueHeads + head) * this.#capacity * headSize;
      const to = (at * keyValueHeads + head) * into.#capacity * headSize;
      this.#parts.forEach((part, index) => into.#parts[index]?.set(part.subarray(from, from + length * headSize), to));
    }
  }

  /** Positions `from` up to `to` of a row as one array, [2·layers, K, to − from, S]. */
  take(row: number, from: number, to: number): Float32Array {
    const { keyValueHeads, headSize } = this.#shape;
    const length = (to - from) * headSize;
    const block = new Float32Array(this.#parts.length * keyValueHeads * length);
    this.#each(row, from, (part, start, at) => block.set(part.subarray(start, start + length), at * length));
    return block;
  }

  /** The reverse of `take`. */
  put(row: number, from: number, to: number, block: Float32Array): void {
    const length = (to - from) * this.#shape.headSize;
    this.#each(row, from, (part, start, at) => part.set(block.subarray(at * length, (at + 1) * length), start));
  }

  #each(row: number, position: number, act: (part: Float32Array, start: number, at: number) => void): void {
    const { keyValueHeads, headSize } = this.#shape;
    this.#parts.forEach((part, index) => {
      for (let head = 0; head < keyValueHeads; head++) act(part, ((row * keyValueHeads + head) * this.#capacity + position) * headSize, index * keyValueHeads + head);
    });
  }

  #resize(room: number, capacity: number): void {
    const { layers, keyValueHeads, headSize } = this.#shape;
    const old = this.#parts;
    const [before, kept] = [this.#capacity * headSize, Math.min(this.#capacity, capacity) * headSize];
    // All at once: if memory is short for one, nothing has changed.
    this.#parts = Array.from({ length: 2 * layers }, (_, index) => {
      const larger = new Float32Array(room * keyValueHeads * capacity * headSize);
      const part = old[index];
      if (part !== undefined) for (let head = 0; head < this.#count * keyValueHeads; head++) larger.set(part.subarray(head * before, head * before + kept), head * capacity * headSize);
      return larger;
    });
    this.#given = null;
    this.#room = room;
    this.#capacity = capacity;
  }
}

/** A token's keys are 64 numbers or so: as a loop cheaper than a view of them for `set`, of which a step would make some hundreds. */
function copyNumbers(from: Float32Array, start: number, count: number, to: Float32Array, at: number): void {
  for (let index = 0; index < count; index++) to[at + index] = from[start + index] ?? 0;
}

const roundUp = (positions: number) => Math.ceil(positions / step) * step;
