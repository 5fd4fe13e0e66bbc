/** What the semantic tier asks of an index, wherever it lives: in this process, or in the cache's own server. */
import type { Batch } from "../../../shared/redis/batch.ts";
import type { Candidate, IndexEntry } from "./vector_index.ts";

export interface SemanticIndex {
  readonly kind: "process" | "vector-set" | "search";
  /** Entries that it knows of. */
  readonly size: number;
  start(): Promise<void>;
  /** Adds what must be written with the entry. @returns what to call once it was */
  addTo(batch: Batch, entry: IndexEntry): () => void;
  /** Of the same partition, with at least this cosine, nearest first. May name entries that are gone. */
  nearest(query: Pick<IndexEntry, "partition" | "vector">, least: number, count: number): Promise<Candidate[]>;
  /** These entries are gone. Never throws. */
  forget(entries: readonly Pick<IndexEntry, "id" | "partition">[]): void;
  /** Another gateway stored these entries. */
  learn(ids: readonly string[]): Promise<void>;
  close(): void;
}
