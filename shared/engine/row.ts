/** A sequence as the decoder has it: its tokens, and where its keys and values lie. Not responsible for whom it shares a batch with (batches.ts). */
import type { RowAdapter } from "./adapter_rows.ts";
import type { KeyValueRows } from "./key_value_rows.ts";

export interface Sequence {
  /** Prompt and answer; the last one may not have been read yet. */
  readonly tokens: readonly number[];
  /** Positions that the cache holds. */
  readonly length: number;
  /** Positions that the cache has room for. */
  readonly capacity: number;
  /** How many of the prompt's tokens an earlier prompt had computed. */
  readonly reused: number;
}

export class Row implements Sequence {
  readonly tokens: number[];
  readonly adapter: RowAdapter | null;
  readonly promptLength: number;
  readonly root: string;
  /** Names of the filled blocks, see prefix_cache.ts. */
  readonly chain: string[] = [];
  store: KeyValueRows;
  row: number;
  length = 0;
  reused = 0;
  closed = false;

  constructor(tokens: readonly number[], adapter: RowAdapter | null, root: string, store: KeyValueRows) {
    this.tokens = [...tokens];
    this.promptLength = tokens.length;
    this.adapter = adapter;
    this.root = root;
    this.store = store;
    this.row = store.add();
  }

  get capacity(): number {
    return this.store.capacity;
  }
}

/** @throws TypeError for a sequence that no decoder opened */
export function asRow(sequence: Sequence): Row {
  if (!(sequence instanceof Row)) throw new TypeError("the sequence is not one of this decoder's");
  return sequence;
}
