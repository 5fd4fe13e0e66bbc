/**
 * The angles by which attention turns what it writes into a cache (cache_use.ts): tables of all positions that a batch has come to, made when it
 * comes further than any before.
 */
import type { ModelConfig } from "../models/config.ts";
import { rotationTables } from "../models/rope.ts";
import type { Sized } from "../tensor/compile.ts";
import { kindsOf } from "./cache_use.ts";

const fewest = 1_024;

export class Turning {
  readonly #config: ModelConfig;
  #positions = 0;
  #tables: readonly Sized[] = [];

  constructor(config: ModelConfig) {
    this.#config = config;
  }

  /** Cosines and sines of each kind of layer, [P, S' / 2] with P of at least so many: the same arrays for as long as they do. */
  upTo(positions: number): readonly Sized[] {
    if (positions <= this.#positions) return this.#tables;
    const reach = Math.max(fewest, 2 ** Math.ceil(Math.log2(positions)));
    this.#tables = kindsOf(this.#config).flatMap((kind) => {
      const rope = this.#config.rope[kind];
      const { cos, sin } = rotationTables(rope, reach);
      return [cos, sin].map((values) => ({ values, shape: [reach, rope.size / 2] }));
    });
    this.#positions = reach;
    return this.#tables;
  }
}
