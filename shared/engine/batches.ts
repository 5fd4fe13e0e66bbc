/**
 * Which sequences are decoded together. They join with their first token and leave when they are closed or have grown out of their class; arrays of those
 * that left serve the next. Not responsible for computing (decoder.ts).
 */
import type { ModelConfig } from "../models/config.ts";
import { AdapterRows } from "./adapter_rows.ts";
import type { KeyValueRows } from "./key_value_rows.ts";
import type { Row } from "./row.ts";
import { StorePool } from "./store_pool.ts";

/** Sequences of one class of lengths that are decoded together: `rows` in the order of the cache's. */
export interface Batch {
  readonly store: KeyValueRows;
  readonly rows: Row[];
  readonly adapters: AdapterRows;
}

/** A row is as expensive as the longest of its batch, so long and short ones are batched apart: up to this many positions, and 4, 16, … times as many. */
const firstClass = 1_024;

export class Batches {
  readonly pool: StorePool;
  readonly #contextLength: number;
  /** By class. */
  readonly #batches = new Map<number, Batch>();
  /** Of a batch that is no more: the next one's arrays need not be made. */
  #spareAdapters: AdapterRows | null = null;

  constructor(config: ModelConfig) {
    this.pool = new StorePool(config);
    this.#contextLength = config.contextLength;
  }

  values(): Iterable<Batch> {
    return this.#batches.values();
  }

  /** Puts a sequence into the batch of its length. */
  join(row: Row): void {
    const size = classOf(row.length + 1);
    const present = this.#batches.get(size);
    if (present?.store === row.store) return;
    const old = this.#batchOf(row);
    if (present === undefined && row.store.count === 1) {
      // Nobody else is in either: its own arrays become the batch's.
      if (old !== undefined) this.#forget(old);
      this.#batches.set(size, { store: row.store, rows: [row], adapters: old?.adapters ?? this.#takeAdapters() });
      return;
    }
    const batch = present ?? { store: this.pool.take(row.length + 64), rows: [], adapters: this.#takeAdapters() };
    batch.store.reserve(row.length + 1, this.#contextLength);
    const to = batch.store.add();
    row.store.copy(row.row, row.length, batch.store, to);
    if (old !== undefined) this.#leave(row, old);
    else this.#giveBack(row);
    row.store = batch.store;
    row.row = to;
    batch.rows.push(row);
    this.#batches.set(size, batch);
  }

  /** Frees a sequence's place, wherever it is. */
  close(row: Row): void {
    if (row.length > 0 && !row.store.isSound(row.row, row.length - 1)) row.store.wipe(row.row);
    const batch = this.#batchOf(row);
    if (batch !== undefined) this.#leave(row, batch);
    else this.#giveBack(row);
  }

  #batchOf({ store }: Row): Batch | undefined {
    return [...this.#batches.values()].find((batch) => batch.store === store);
  }

  /** The cache that only this sequence had. */
  #giveBack(row: Row): void {
    row.store.remove(row.row, 0);
    this.pool.giveBack(row.store);
  }

  #leave(row: Row, batch: Batch): void {
    const last = batch.rows.at(-1);
    if (last === undefined) return;
    batch.store.remove(row.row, last.length);
    batch.rows[row.row] = last;
    last.row = row.row;
    batch.rows.pop();
    if (batch.rows.every(({ adapter }) => adapter === null)) batch.adapters.release();
    if (batch.rows.length > 0) return;
    this.#forget(batch);
    this.pool.giveBack(batch.store);
    this.#spareAdapters ??= batch.adapters;
  }

  #takeAdapters(): AdapterRows {
    const adapters = this.#spareAdapters ?? new AdapterRows();
    this.#spareAdapters = null;
    return adapters;
  }

  #forget(batch: Batch): void {
    for (const [size, other] of this.#batches) if (other === batch) this.#batches.delete(size);
  }
}

/** The greatest length of the batch that a sequence of this length belongs to. */
function classOf(length: number): number {
  let most = firstClass;
  while (most < length) most *= 4;
  return most;
}
