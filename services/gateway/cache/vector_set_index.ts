/**
 * The index in Redis 8 vector sets (VADD, VSIM): one for all gateways, nothing to scan or to follow. Vector sets have no time to live per element,
 * so a partition is cut into sets by the time at which entries end, and each set ends with its last entry.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Batch } from "../../../shared/redis/batch.ts";
import { toBytes } from "./embedding.ts";
import type { SemanticIndex } from "./semantic_index.ts";
import { ServerIndex, type ServerIndexOptions } from "./server_index.ts";
import type { Candidate, IndexEntry } from "./vector_index.ts";

const prefix = "everlora:cache:vectors:";
/** Into so many sets the time to live is cut; a look-up asks one more. */
const cuts = 4;

export class VectorSetIndex extends ServerIndex implements SemanticIndex {
  readonly kind = "vector-set";
  readonly #log: Logger;
  /** Milliseconds that one set covers. */
  readonly #width: number;

  constructor({ redis, ttlSeconds, log }: ServerIndexOptions) {
    super({ redis });
    this.#log = log;
    this.#width = Math.ceil((ttlSeconds * 1_000) / cuts);
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  addTo(batch: Batch, { id, partition, vector, expiresAt }: IndexEntry): () => void {
    const slice = Math.floor(expiresAt / this.#width);
    const key = this.#keyOf(partition, slice);
    batch.add("VADD", key, "FP32", toBytes(vector), id);
    batch.add("pexpireat", key, (slice + 1) * this.#width);
    return () => undefined;
  }

  async nearest({ partition, vector }: Pick<IndexEntry, "partition" | "vector">, least: number, count: number): Promise<Candidate[]> {
    const bytes = toBytes(vector);
    const pipeline = this.redis.pipeline();
    for (const key of this.#keysOf(partition)) pipeline.call("VSIM", key, "FP32", bytes, "WITHSCORES", "COUNT", count);
    const found: Candidate[] = [];
    for (const [error, reply] of (await pipeline.exec()) ?? []) {
      if (error !== null) throw error;
      const flat = Array.isArray(reply) ? (reply as unknown[]).map(String) : [];
      for (let at = 0; at + 1 < flat.length; at += 2) {
        // Redis' score is (1 + cosine) / 2.
        const similarity = 2 * Number(flat[at + 1]) - 1;
        if (similarity >= least) found.push({ id: flat[at] ?? "", similarity: Math.min(1, similarity) });
      }
    }
    return found.sort((a, b) => b.similarity - a.similarity).slice(0, count);
  }

  forget(entries: readonly Pick<IndexEntry, "id" | "partition">[]): void {
    const pipeline = this.redis.pipeline();
    for (const { id, partition } of entries) if (partition !== "") for (const key of this.#keysOf(partition)) pipeline.call("VREM", key, id);
    pipeline.exec().catch((error: unknown) => this.#log.warn({ reason: messageOf(error) }, "vectors of removed entries are left to expire"));
  }

  #keysOf(partition: string): string[] {
    const first = Math.floor(Date.now() / this.#width);
    return Array.from({ length: cuts + 1 }, (_value, at) => this.#keyOf(partition, first + at));
  }

  #keyOf(partition: string, slice: number): string {
    return `${prefix}${partition}:${this.#width}:${slice}`;
  }
}
