/**
 * The index by RediSearch or valkey-search (FT.CREATE, FT.SEARCH): follows the entries' hashes and their time to live by itself, so that nothing but
 * the entries is written.
 */
import { messageOf } from "../../../shared/errors/errors.ts";
import { cacheEntryPrefix } from "../../../shared/events/cache_entry.ts";
import { entryFields } from "./entries.ts";
import { toBytes } from "./embedding.ts";
import type { SemanticIndex } from "./semantic_index.ts";
import type { Candidate, IndexEntry } from "./vector_index.ts";
import { ServerIndex, type ServerIndexOptions } from "./server_index.ts";

export class SearchIndex extends ServerIndex implements SemanticIndex {
  readonly kind = "search";
  readonly #name: string;
  readonly #dimension: number;

  constructor({ redis, dimension }: Pick<ServerIndexOptions, "redis" | "dimension">) {
    super({ redis });
    this.#dimension = dimension;
    // Vectors of another length are no error for the server: it leaves those hashes out of this index.
    this.#name = `everlora:cache:search:${dimension}`;
  }

  /** @throws what Redis throws, unless the index is there already */
  async start(): Promise<void> {
    const schema = [entryFields.partition, "TAG", entryFields.embedding, "VECTOR", "HNSW", 6, "TYPE", "FLOAT32", "DIM", this.#dimension, "DISTANCE_METRIC", "COSINE"];
    try {
      await this.redis.call("FT.CREATE", this.#name, "ON", "HASH", "PREFIX", 1, cacheEntryPrefix, "SCHEMA", ...schema);
    } catch (error) {
      if (!/already exists/i.test(messageOf(error))) throw error;
    }
  }

  addTo(): () => void {
    return () => undefined;
  }

  async nearest({ partition, vector }: Pick<IndexEntry, "partition" | "vector">, least: number, count: number): Promise<Candidate[]> {
    // A partition is a hex digest: nothing in it needs escaping. Sorted here: servers differ in what they sort by.
    const query = `(@${entryFields.partition}:{${partition}})=>[KNN ${count} @${entryFields.embedding} $vector AS distance]`;
    const reply: unknown = await this.redis.call("FT.SEARCH", this.#name, query, "PARAMS", 2, "vector", toBytes(vector), "RETURN", 1, "distance", "LIMIT", 0, count, "DIALECT", 2);
    const found: Candidate[] = [];
    const flat = Array.isArray(reply) ? (reply as unknown[]).slice(1) : [];
    for (let at = 0; at + 1 < flat.length; at += 2) {
      const fields = flat[at + 1];
      const distance = Array.isArray(fields) ? Number(fields[1]) : NaN; // an entry that expired in mid-search comes without fields
      const similarity = 1 - distance;
      if (similarity >= least) found.push({ id: String(flat[at]).slice(cacheEntryPrefix.length), similarity: Math.min(1, similarity) });
    }
    return found.sort((a, b) => b.similarity - a.similarity);
  }

  forget(): void {
    // The index follows the hashes.
  }
}
