/**
 * The semantic cache: exact tier, then semantic, over entries in Redis and an index in this process that also follows other gateways. Whatever
 * fails here costs a hit and nothing else: the model answers.
 */
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import { cacheEntryPrefix } from "../../../shared/events/cache_entry.ts";
import { streams } from "../../../shared/events/streams.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { follow, newestId, type Following } from "../streams.ts";
import { within } from "../within.ts";
import { addEntry, readAnswer, readForIndex, type CachedAnswer, type NewEntry } from "./entries.ts";
import type { CacheKey } from "./key.ts";
import { VectorIndex } from "./vector_index.ts";

export interface CacheOptions {
  readonly redis: Redis;
  /** A second connection, of the patient profile, that the cache may block and closes. */
  readonly follower: Redis;
  readonly ttlSeconds: number;
  readonly similarity: number;
  readonly log: Logger;
  readonly metrics: Pick<Metrics<"gateway">, "cacheRequests" | "cacheLookup" | "cacheEntries">;
}

export interface Hit extends CachedAnswer {
  readonly kind: "hit-exact" | "hit-semantic";
  readonly similarity: number;
}

/** A look-up that takes longer is given up: the caller waits for an answer, not for its shortcut. */
const lookupBudgetMs = 250;
const sweepMs = 60_000;
/** Heals what the stream could not tell: entries written while Redis was away or the stream had been cut. */
const rescanMs = 600_000;
const streamCap = 10_000;
const mostCandidates = 3;

export class SemanticCache {
  readonly #options: CacheOptions;
  readonly #index = new VectorIndex();
  readonly #instance = randomUUID();
  #following: Following | undefined;
  #timers: NodeJS.Timeout[] = [];
  #closed = false;

  constructor(options: CacheOptions) {
    this.#options = options;
  }

  /** Fills the index and follows the other gateways. A Redis that fails now leaves the index to the next scan. */
  async start(): Promise<void> {
    const { redis, follower, log } = this.#options;
    const from = await newestId(redis, "cacheIndex").catch(() => "$");
    await this.#scan();
    if (this.#closed) return; // the gateway failed to start meanwhile
    this.#following = follow(follower, "cacheIndex", from, (entry) => (entry.by === this.#instance ? undefined : this.#learn([entry.id])), log);
    const sweep = () => {
      this.#index.sweep();
      this.#count();
    };
    this.#timers = [setInterval(sweep, sweepMs), setInterval(() => void this.#scan(), rescanMs)];
    for (const timer of this.#timers) timer.unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#following?.close();
  }

  /** null: a miss, or the cache did not answer in time. */
  async lookup(key: CacheKey): Promise<Hit | null> {
    const { log, metrics } = this.#options;
    const end = metrics.cacheLookup.startTimer();
    try {
      const hit = await within(lookupBudgetMs, this.#find(key));
      metrics.cacheRequests.inc({ result: hit?.kind ?? "miss" });
      return hit;
    } catch (error) {
      metrics.cacheRequests.inc({ result: "error" });
      log.warn({ reason: messageOf(error) }, "the cache did not answer; asking the model");
      return null;
    } finally {
      end();
    }
  }

  /** Adds what stores the entry to a transaction on the cache's server. @returns what to call once it was executed */
  addTo(multi: ReturnType<Redis["multi"]>, entry: NewEntry): () => void {
    const expiresAt = addEntry(multi, entry, this.#options.ttlSeconds);
    const { key } = entry;
    if (key.semantic === null) return () => undefined;
    const { gate, vector } = key.semantic;
    multi.xadd(streams.cacheIndex.key, "MAXLEN", "~", streamCap, "*", "json", JSON.stringify({ id: key.exact, by: this.#instance }));
    return () => {
      this.#index.put({ id: key.exact, scope: key.scope, gate, vector, expiresAt });
      this.#count();
    };
  }

  async #find(key: CacheKey): Promise<Hit | null> {
    const { redis, similarity: least } = this.#options;
    const exact = await readAnswer(redis, key.exact, key);
    if (exact !== null && fits(exact, key)) return { ...exact, kind: "hit-exact", similarity: 1 };
    if (key.semantic === null) return null;
    for (const { id, similarity } of this.#index.nearest({ scope: key.scope, ...key.semantic }, least).slice(0, mostCandidates)) {
      if (id === key.exact) continue;
      const answer = await readAnswer(redis, id, key);
      if (answer === null) this.#index.remove(id);
      else if (fits(answer, key)) return { ...answer, kind: "hit-semantic", similarity };
    }
    return null;
  }

  async #scan(): Promise<void> {
    const { redis, log } = this.#options;
    try {
      let cursor = "0";
      do {
        const [next, names] = await redis.scan(cursor, "MATCH", `${cacheEntryPrefix}*`, "COUNT", 500);
        await this.#learn(names.map((name) => name.slice(cacheEntryPrefix.length)).filter((id) => !this.#index.has(id)));
        cursor = next;
      } while (cursor !== "0" && !this.#closed);
    } catch (error) {
      log.warn({ reason: messageOf(error) }, "cannot read the cache's entries; the index is not complete");
    }
  }

  async #learn(ids: readonly string[]): Promise<void> {
    for (const entry of await readForIndex(this.#options.redis, ids)) this.#index.put(entry);
    this.#count();
  }

  #count(): void {
    this.#options.metrics.cacheEntries.set(this.#index.size);
  }
}

/** A caller who set a limit gets no answer that is longer. */
function fits({ usage }: CachedAnswer, { maxTokens }: CacheKey): boolean {
  return maxTokens === undefined || (usage !== undefined && usage.completion_tokens <= maxTokens);
}
