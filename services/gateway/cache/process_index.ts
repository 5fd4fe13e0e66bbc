/**
 * The index in this process, for any Redis: filled by a scan at the start, kept up by what the other gateways announce (cache.ts hands it on), and
 * healed by a scan now and then, and after the connection was lost.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import { cacheEntryPrefix } from "../../../shared/events/cache_entry.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { readForIndex } from "./entries.ts";
import type { SemanticIndex } from "./semantic_index.ts";
import { VectorIndex, type Candidate, type IndexEntry } from "./vector_index.ts";

const sweepMs = 60_000;
/** Heals what the announcements could not tell: entries written while Redis was away or the stream had been cut. */
const rescanMs = 600_000;
const page = 500;

interface ProcessIndexOptions {
  readonly redis: Redis;
  readonly dimension: number;
  readonly log: Logger;
  readonly onSize: (size: number) => void;
}

export class ProcessIndex implements SemanticIndex {
  readonly kind = "process";
  readonly #options: ProcessIndexOptions;
  readonly #index: VectorIndex;
  #timers: NodeJS.Timeout[] = [];
  #closed = false;
  #stale = false;
  readonly #lost = () => void (this.#stale = true);
  readonly #back = () => {
    if (this.#stale) void this.#scan();
    this.#stale = false;
  };

  constructor(options: ProcessIndexOptions) {
    this.#options = options;
    this.#index = new VectorIndex(options.dimension);
  }

  get size(): number {
    return this.#index.size;
  }

  async start(): Promise<void> {
    const { redis } = this.#options;
    redis.on("close", this.#lost).on("ready", this.#back);
    await this.#scan();
    if (this.#closed) return; // the gateway failed to start meanwhile
    this.#timers = [setInterval(() => this.#sweep(this.#index.sweep()), sweepMs), setInterval(() => void this.#scan(), rescanMs)];
    for (const timer of this.#timers) timer.unref();
  }

  addTo(_batch: unknown, entry: IndexEntry): () => void {
    return () => this.#changed(() => this.#index.put(entry));
  }

  nearest(query: Pick<IndexEntry, "partition" | "vector">, least: number, count: number): Promise<Candidate[]> {
    return Promise.resolve(this.#index.nearest(query, least, count));
  }

  forget(entries: readonly Pick<IndexEntry, "id">[]): void {
    this.#changed(() => entries.forEach(({ id }) => this.#index.remove(id)));
  }

  learn(ids: readonly string[]): Promise<void> {
    return this.#learn(ids);
  }

  close(): void {
    this.#closed = true;
    this.#options.redis.off("close", this.#lost).off("ready", this.#back);
    for (const timer of this.#timers) clearInterval(timer);
  }

  #sweep(pieces: Generator<void, void, undefined>): void {
    this.#changed(() => {
      if (pieces.next().done !== true && !this.#closed) setImmediate(() => this.#sweep(pieces));
    });
  }

  async #scan(): Promise<void> {
    const { redis, log } = this.#options;
    try {
      let cursor = "0";
      do {
        const [next, names] = await redis.scan(cursor, "MATCH", `${cacheEntryPrefix}*`, "COUNT", page);
        await this.#learn(names.map((name) => name.slice(cacheEntryPrefix.length)).filter((id) => !this.#index.has(id)));
        cursor = next;
      } while (cursor !== "0" && !this.#closed);
    } catch (error) {
      log.warn({ reason: messageOf(error) }, "cannot read the cache's entries; the index is not complete");
    }
  }

  async #learn(ids: readonly string[]): Promise<void> {
    const { redis, dimension } = this.#options;
    const entries = await readForIndex(redis, ids, dimension);
    this.#changed(() => entries.forEach((entry) => this.#index.put(entry)));
  }

  #changed(change: () => void): void {
    change();
    this.#options.onSize(this.#index.size);
  }
}
