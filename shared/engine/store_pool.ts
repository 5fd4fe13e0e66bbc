/**
 * Caches that sequences have done with, for the next ones: a short prompt's cache is cheap to fill and dear to make, because V8 marks its whole heap for
 * every few dozen megabytes of arrays. Keeps a few small ones; not responsible for what lies in them.
 */
import type { ModelConfig } from "../models/config.ts";
import { KeyValueRows } from "./key_value_rows.ts";

/** Bytes that are kept in all. */
const mostBytes = 32 * 2 ** 20;

export class StorePool {
  readonly #config: ModelConfig;
  #spare: KeyValueRows[] = [];

  constructor(config: ModelConfig) {
    this.#config = config;
  }

  /** A cache without rows, as large as a new one for so many positions would be: what is computed must not hang on who was here before. */
  take(positions: number): KeyValueRows {
    const at = this.#spare.findIndex(({ capacity }) => capacity === KeyValueRows.capacityFor(positions));
    return (at < 0 ? undefined : this.#spare.splice(at, 1)[0]) ?? new KeyValueRows(this.#config, positions);
  }

  /** @param store has no rows any more, and nobody else uses it */
  giveBack(store: KeyValueRows): void {
    this.#spare.unshift(store);
    let bytes = 0;
    this.#spare = this.#spare.filter((each) => (bytes += each.bytes) <= mostBytes);
  }
}
