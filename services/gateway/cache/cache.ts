/**
 * The semantic cache: exact tier, then semantic, over entries in Redis and an index that follows the other gateways. Whatever fails here costs a
 * hit and nothing else: the model answers.
 */
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";
import { streams, type StreamPayload } from "../../../shared/events/streams.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import { Batch } from "../../../shared/redis/batch.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { ChatRequest } from "../chat/request.ts";
import { follow, newestId, type Following } from "../streams.ts";
import { within } from "../within.ts";
import { Breaker } from "./breaker.ts";
import { addEntry, readNeighbours, type CachedAnswer, type NewEntry } from "./entries.ts";
import type { Embedding } from "./embedding.ts";
import { ExactReader, type Taken } from "./exact_reader.ts";
import { Flights, type Boarding } from "./flights.ts";
import { findEntries, readConversation, removeEntries, type EntryFilter } from "./invalidation.ts";
import { cacheKey, type Answerer, type CacheKey, type SemanticKey } from "./key.ts";
import type { Lag } from "./lag.ts";
import type { Locks } from "./lock.ts";
import type { SemanticIndex } from "./semantic_index.ts";

export interface CacheOptions {
  readonly redis: Redis;
  /** A second connection, of the patient profile, that the cache may block and closes. */
  readonly follower: Redis;
  readonly embedding: Embedding;
  readonly index: SemanticIndex;
  readonly ttlSeconds: number;
  readonly similarity: number;
  /** Above `similarity`, how far hits still need every word to agree. */
  readonly uncertainty: number;
  readonly strict: boolean;
  readonly dialogues: boolean;
  readonly budgetMs: number;
  readonly lag: Lag;
  /** Milliseconds that the event loop may be late; beyond it there is no semantic tier. */
  readonly mostLagMs: number;
  readonly log: Logger;
  readonly metrics: Pick<Metrics<"gateway">, "cacheRequests" | "cacheLookup" | "cacheSimilarity" | "cacheSavedTokens" | "cacheRemoved">;
}

export interface Hit {
  readonly kind: "hit-exact" | "hit-semantic";
  readonly similarity: number;
  readonly answer: CachedAnswer;
}

/**
 * What came of asking the cache: a hit; a place on the flight that brings the answer; or nothing of the two.
 * `exactOnly`: the gateway was too busy for the semantic tier.
 */
export type Entrance = { readonly hit: Hit } | { readonly hit: null; readonly boarding: Boarding | null; readonly exactOnly: boolean };

type CacheIndexEvent = StreamPayload<"cacheIndex">;

const streamCap = 10_000;
/** In one announcement. */
const mostIds = 500;
/** Between two looks at what the others announce: many answers a second shall not be as many reads. */
const followRestMs = 5;
const mostCandidates = 5;
/** A sentence embedding is computed by a model. */
const embeddingMs = 150;

export class SemanticCache {
  readonly #options: CacheOptions;
  readonly #instance = randomUUID();
  readonly #breaker = new Breaker();
  readonly #flights: Flights;
  readonly #exact: ExactReader;
  #following: Following | undefined;
  #closed = false;

  constructor(options: CacheOptions) {
    this.#options = options;
    const { redis, budgetMs, log } = options;
    this.#exact = new ExactReader(redis);
    this.#flights = new Flights({ redis, budgetMs, log, read: (key) => this.#readFitting(key), take: (key, name, locks) => this.#takeFitting(key, name, locks), announceEnd: (name) => this.#announce("ended", [name]) });
  }

  /** Fills the index and follows the other gateways. A Redis that fails now leaves the index to the next scan. */
  async start(): Promise<void> {
    const { redis, follower, index, log } = this.#options;
    const from = await newestId(redis, "cacheIndex").catch(() => "$");
    await index.start();
    if (this.#closed) return; // the gateway failed to start meanwhile
    this.#following = follow(follower, "cacheIndex", from, async ({ ids, by, what }) => {
      if (by === this.#instance) return;
      if (what !== "removed") for (const id of ids) this.#flights.heard(id, what === "ended");
      if (what === "removed") index.forget(ids.map((id) => ({ id, partition: "" })));
      else if (what === "stored") await index.learn(ids);
    }, log, { restMs: followRestMs, skip: (json) => json.includes(this.#instance) });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#options.index.close();
    this.#options.lag.close();
    await this.#flights.close();
    await this.#following?.close();
  }

  /** null when this request must not be answered from a cache, nor its answer kept. */
  keyOf(request: ChatRequest, answerer: Answerer): CacheKey | null {
    return cacheKey(request, answerer, this.#options);
  }

  /**
   * Looks the answer up, and where it isn't there finds out who else is getting it.
   * @param share false when this request wants an answer of its own
   */
  async enter(key: CacheKey, share: boolean): Promise<Entrance> {
    const hit = await this.#lookup(key);
    if (hit !== null && hit !== "exact-only") return { hit };
    const exactOnly = hit === "exact-only";
    if (!share || !key.shareable || !this.#breaker.allows()) return { hit: null, boarding: null, exactOnly };
    const found = await this.#flights.board(key);
    if ("flight" in found) {
      if (found.joined) this.#options.metrics.cacheRequests.inc({ result: "joined" });
      return { hit: null, boarding: found, exactOnly };
    }
    this.#options.metrics.cacheRequests.inc({ result: "joined" });
    return { hit: { kind: "hit-exact", similarity: 1, answer: found } };
  }

  /** null: a miss, or the cache did not answer in time. */
  async #lookup(key: CacheKey): Promise<Hit | "exact-only" | null> {
    const { log, metrics } = this.#options;
    if (!this.#breaker.allows()) {
      metrics.cacheRequests.inc({ result: "error" });
      return null;
    }
    const end = metrics.cacheLookup.startTimer();
    try {
      const hit = await this.#find(key);
      this.#breaker.succeeded();
      if (hit === null || hit === "exact-only") {
        metrics.cacheRequests.inc({ result: hit === null ? "miss" : "miss-exact" });
        return hit;
      }
      metrics.cacheRequests.inc({ result: hit.kind });
      metrics.cacheSavedTokens.inc({ kind: "prompt" }, hit.answer.usage?.prompt_tokens ?? 0);
      metrics.cacheSavedTokens.inc({ kind: "completion" }, hit.answer.usage?.completion_tokens ?? 0);
      return hit;
    } catch (error) {
      this.#breaker.failed();
      metrics.cacheRequests.inc({ result: "error" });
      log.warn({ reason: messageOf(error) }, "the cache did not answer; asking the model");
      return null;
    } finally {
      end();
    }
  }

  /** What must be worked out before an entry can be written: its vector. Where that fails, or there is no time for it, it can only be found exactly. */
  async prepare(entry: NewEntry): Promise<SemanticKey | null> {
    if (this.#isLate()) return null;
    return entry.key.semantic().catch((error: unknown) => {
      this.#options.log.warn({ reason: messageOf(error) }, "a question could not be embedded; its answer is cached for exact hits only");
      return null;
    });
  }

  /** Adds what stores the entry to a transaction on the cache's server. @param json of the conversation @returns what to call once it was executed */
  addTo(batch: Batch, entry: NewEntry, semantic: SemanticKey | null, json: string): () => void {
    const { index, ttlSeconds } = this.#options;
    const expiresAt = addEntry(batch, entry, semantic, ttlSeconds, json);
    return semantic === null ? () => undefined : index.addTo(batch, { id: entry.key.exact, partition: semantic.partition, vector: semantic.vector, expiresAt });
  }

  /** Adds what tells the other gateways of these entries. @returns what to call once it was executed */
  announceIn(batch: Batch, keys: readonly CacheKey[]): () => void {
    this.#addAnnouncement(batch, "stored", keys.map(({ exact }) => exact));
    return this.#flights.landIn(batch, keys);
  }

  /** Removes entries, here and in the other gateways. @returns how many. @throws what Redis throws */
  async remove(filter: EntryFilter, reason: "request" | "feedback"): Promise<number> {
    const { redis, index, metrics } = this.#options;
    const entries = await findEntries(redis, filter);
    await removeEntries(redis, entries);
    index.forget(entries);
    if (entries.length > 0) await this.#announce("removed", entries.map(({ id }) => id));
    metrics.cacheRemoved.inc({ reason }, entries.length);
    return entries.length;
  }

  /** The conversation that an entry repeats, for its caller; null where it is not in the cache any more. @throws what Redis throws */
  recall(conversation: string, caller: string): Promise<Conversation | null> {
    return readConversation(this.#options.redis, conversation, caller);
  }

  async #find(key: CacheKey): Promise<Hit | "exact-only" | null> {
    const { embedding, budgetMs } = this.#options;
    const exact = await within(budgetMs, this.#readFitting(key));
    if (exact !== null) return { kind: "hit-exact", similarity: 1, answer: exact };
    if (this.#isLate()) return "exact-only";
    return within(budgetMs + (embedding.knowsMeaning ? embeddingMs : 0), this.#findNear(key));
  }

  #isLate(): boolean {
    return this.#options.lag.now > this.#options.mostLagMs;
  }

  async #findNear(key: CacheKey): Promise<Hit | null> {
    const { redis, index, similarity: least, uncertainty, metrics } = this.#options;
    const semantic = await key.semantic();
    if (semantic === null) return null;
    const near = (await index.nearest(semantic, least, mostCandidates)).filter(({ id }) => id !== key.exact);
    if (near.length === 0) return null;
    const neighbours = await readNeighbours(redis, near.map(({ id }) => id), key, semantic);
    const gone = neighbours.filter(({ answer }) => answer === null);
    if (gone.length > 0) index.forget(gone.map(({ id }) => ({ id, partition: semantic.partition })));
    for (const [at, { answer, sameWords, turned }] of neighbours.entries()) {
      const similarity = near[at]?.similarity ?? 0;
      if (answer === null || !fits(answer, key)) continue;
      // Just above the threshold a near text is not a near meaning for sure.
      const sure = sameWords || (!turned && similarity >= Math.min(1, least + uncertainty));
      metrics.cacheSimilarity.observe({ result: sure ? "hit" : "uncertain" }, similarity);
      if (sure) return { kind: "hit-semantic", similarity, answer };
    }
    return null;
  }

  async #readFitting(key: CacheKey): Promise<CachedAnswer | null> {
    const answer = await this.#exact.read(key.exact);
    return answer !== null && fits(answer, key) ? answer : null;
  }

  async #takeFitting(key: CacheKey, name: string, locks: Locks): Promise<Taken> {
    const { ours, answer } = await this.#exact.take(key.exact, name, locks);
    return { ours, answer: answer !== null && fits(answer, key) ? answer : null };
  }

  async #announce(what: "removed" | "ended", ids: readonly string[]): Promise<void> {
    const batch = new Batch();
    for (let from = 0; from < ids.length; from += mostIds) this.#addAnnouncement(batch, what, ids.slice(from, from + mostIds));
    await batch.send(this.#options.redis);
  }

  #addAnnouncement(batch: Batch, what: CacheIndexEvent["what"], ids: readonly string[]): void {
    batch.add("xadd", streams.cacheIndex.key, "MAXLEN", "~", streamCap, "*", "json", JSON.stringify({ ids: [...ids], by: this.#instance, what } satisfies CacheIndexEvent));
  }
}

/** A caller who set a limit gets no answer that is longer. */
function fits({ usage }: CachedAnswer, { maxTokens }: CacheKey): boolean {
  return maxTokens === undefined || (usage !== null && usage.completion_tokens <= maxTokens);
}
