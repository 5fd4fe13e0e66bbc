/**
 * The semantic tier's index, in this process: vectors by scope and gates, compared one by one. Since texts that fail a gate are in another
 * bucket, a bucket is small and the true nearest is always found. Holds no answers: those stay in Redis, whose time to live decides.
 */
import { cosine } from "./embedding.ts";

export interface IndexEntry {
  readonly id: string;
  readonly scope: string;
  readonly gate: string;
  readonly vector: Float32Array;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** About 1.7 kB an entry. Beyond it the oldest go: they only cost a hit. */
const mostEntries = 100_000;

export class VectorIndex {
  readonly #byId = new Map<string, IndexEntry>();
  readonly #buckets = new Map<string, Map<string, IndexEntry>>();

  get size(): number {
    return this.#byId.size;
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  put(entry: IndexEntry): void {
    this.remove(entry.id);
    this.#byId.set(entry.id, entry);
    const name = bucketOf(entry);
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) this.#buckets.set(name, new Map([[entry.id, entry]]));
    else bucket.set(entry.id, entry);
    if (this.#byId.size > mostEntries) for (const id of this.#byId.keys()) return this.remove(id);
  }

  remove(id: string): void {
    const entry = this.#byId.get(id);
    if (entry === undefined) return;
    this.#byId.delete(id);
    const name = bucketOf(entry);
    const bucket = this.#buckets.get(name);
    bucket?.delete(id);
    if (bucket?.size === 0) this.#buckets.delete(name);
  }

  /** Those of the same scope and gates with at least this cosine, nearest first. */
  nearest(query: Pick<IndexEntry, "scope" | "gate" | "vector">, least: number, now = Date.now()): { id: string; similarity: number }[] {
    const found: { id: string; similarity: number }[] = [];
    for (const entry of this.#buckets.get(bucketOf(query))?.values() ?? []) {
      if (entry.expiresAt <= now) continue;
      const similarity = Math.min(1, cosine(query.vector, entry.vector));
      if (similarity >= least) found.push({ id: entry.id, similarity });
    }
    return found.sort((a, b) => b.similarity - a.similarity);
  }

  sweep(now = Date.now()): void {
    for (const entry of [...this.#byId.values()]) if (entry.expiresAt <= now) this.remove(entry.id);
  }
}

function bucketOf({ scope, gate }: Pick<IndexEntry, "scope" | "gate">): string {
  return scope + gate;
}
