/** The index's memory: vectors as 16-bit integers with a scale, their ends of life, and their sketches where somebody made them, by slot. Grows by doubling; freed slots are used again. */
import { sketchWords } from "./sketch.ts";

export class Slots {
  readonly #dimension: number;
  #capacity = 0;
  #vectors = new Int16Array(0);
  #scales = new Float32Array(0);
  #sketches = new Uint32Array(0);
  #expiries = new Float64Array(0);
  readonly #free: number[] = [];
  #next = 0;

  constructor(dimension: number) {
    this.#dimension = dimension;
  }

  /** @param expiresAt milliseconds since 1970 @returns the slot */
  put(vector: Float32Array, expiresAt: number): number {
    const slot = this.#free.pop() ?? this.#next++;
    if (slot >= this.#capacity) this.#grow();
    let largest = 0;
    for (let at = 0; at < vector.length; at++) largest = Math.max(largest, Math.abs(vector[at] ?? 0));
    const scale = largest / 32_767;
    const inverse = scale === 0 ? 0 : 1 / scale;
    const from = slot * this.#dimension;
    for (let at = 0; at < this.#dimension; at++) this.#vectors[from + at] = Math.round((vector[at] ?? 0) * inverse);
    this.#scales[slot] = scale;
    this.#expiries[slot] = expiresAt;
    return slot;
  }

  setSketch(slot: number, sketch: Uint32Array): void {
    this.#sketches.set(sketch, slot * sketchWords);
  }

  /** As it was put, within the rounding of 16 bits. */
  vector(slot: number): Float32Array {
    const from = slot * this.#dimension;
    const scale = this.#scales[slot] ?? 0;
    return Float32Array.from(this.#vectors.subarray(from, from + this.#dimension), (value) => value * scale);
  }

  remove(slot: number): void {
    this.#free.push(slot);
  }

  expiresAt(slot: number): number {
    return this.#expiries[slot] ?? 0;
  }

  /** Of unit vectors; the error of the 16 bits is about 1e-5. */
  cosine(slot: number, vector: Float32Array): number {
    const vectors = this.#vectors;
    const from = slot * this.#dimension;
    let sum = 0;
    for (let at = 0; at < this.#dimension; at++) sum += (vector[at] ?? 0) * (vectors[from + at] ?? 0);
    return Math.min(1, sum * (this.#scales[slot] ?? 0));
  }

  /** All sketches, `sketchWords` a slot; valid until the next put. */
  get sketches(): Uint32Array {
    return this.#sketches;
  }

  #grow(): void {
    this.#capacity = Math.max(256, 2 * this.#capacity);
    this.#vectors = moved(this.#vectors, new Int16Array(this.#capacity * this.#dimension));
    this.#scales = moved(this.#scales, new Float32Array(this.#capacity));
    this.#sketches = moved(this.#sketches, new Uint32Array(this.#capacity * sketchWords));
    this.#expiries = moved(this.#expiries, new Float64Array(this.#capacity));
  }
}

function moved<T extends Int16Array | Float32Array | Uint32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
