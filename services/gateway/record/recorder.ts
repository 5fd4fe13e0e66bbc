/**
 * Keeps what was said: the answer into the cache and the conversation onto the stream, in one MULTI where both are the same server, otherwise
 * the stream first. A conversation that Redis would not take waits here and is offered again, so that a short absence of Redis loses nothing.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";
import { publish, streams } from "../../../shared/events/streams.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import { Batch } from "../../../shared/redis/batch.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { SemanticCache } from "../cache/cache.ts";
import type { NewEntry } from "../cache/entries.ts";
import type { SemanticKey } from "../cache/key.ts";
import { Together } from "../together.ts";

export interface RecorderOptions {
  /** Of REDIS_URL. */
  readonly outbox: Redis;
  /** Of CACHE_REDIS_URL; the same object where it is the same server. */
  readonly cacheRedis: Redis;
  readonly cache: SemanticCache;
  readonly log: Logger;
  readonly metrics: Pick<Metrics<"gateway">, "conversationsRecorded">;
}

/** Above this an entry costs more memory than its hit saves time. */
const largestEntry = 1 << 20;
/** About the conversations of some minutes of Redis being away; more would endanger the gateway itself. */
const mostPending = 2_000;
const retryMs = 1_000;

/** An answer to be stored: into the cache, and onto the stream where both are one server. */
interface Answer {
  readonly entry: NewEntry;
  readonly semantic: SemanticKey | null;
  /** Of the conversation; it is serialised once for stream and cache. */
  readonly json: string;
}

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #stores: Together<Answer, undefined>;
  readonly #together: boolean;
  #pending: Conversation[] = [];
  #retry: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#together = options.outbox === options.cacheRedis;
    this.#stores = new Together((answers) => this.#store(answers));
  }

  /** Never throws. @param entry null when the answer is not to be given again */
  async record(conversation: Conversation, entry: NewEntry | null): Promise<void> {
    const { outbox, cache, log } = this.#options;
    const json = JSON.stringify(conversation);
    const kept = entry !== null && json.length <= largestEntry ? entry : null;
    const storing = async (of: NewEntry) => this.#stores.do({ entry: of, semantic: await cache.prepare(of), json });
    try {
      if (kept !== null && this.#together) await storing(kept);
      else await outbox.xadd(streams.conversations.key, "*", "json", json);
      this.#count("recorded");
    } catch (error) {
      log.warn({ conversation: conversation.id, reason: messageOf(error) }, "a conversation could not be recorded; trying again");
      this.#postpone(conversation);
      return;
    }
    if (kept === null || this.#together) return;
    try {
      await storing(kept);
    } catch (error) {
      log.warn({ conversation: conversation.id, reason: messageOf(error) }, "an answer could not be cached");
    }
  }

  /** Offers once more what is still waiting. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
    await this.#flushing;
    await this.#flush(true);
  }

  /** In one MULTI. An answer of which one command failed counts as not stored; the others stand. */
  async #store(answers: readonly Answer[]): Promise<(Error | undefined)[]> {
    const { cacheRedis, cache } = this.#options;
    const batch = new Batch();
    const placed = answers.map(({ entry, semantic, json }) => {
      const from = batch.length;
      const done = cache.addTo(batch, entry, semantic, json);
      if (this.#together) batch.add("xadd", streams.conversations.key, "*", "json", json);
      return { from, to: batch.length, done };
    });
    const announced = cache.announceIn(batch, answers.map(({ entry }) => entry.key));
    const replies = await batch.transact(cacheRedis);
    const faults = placed.map(({ from, to }) => replies.slice(from, to).find(([error]) => error !== null)?.[0] ?? undefined);
    placed.forEach(({ done }, at) => {
      if (faults[at] === undefined) done();
    });
    announced();
    return faults;
  }

  #postpone(conversation: Conversation): void {
    this.#pending.push(conversation);
    if (this.#pending.length > mostPending) {
      this.#pending.shift();
      this.#count("lost");
    }
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#flushing = this.#flush(false);
    }, retryMs).unref();
  }

  async #flush(last: boolean): Promise<void> {
    const { outbox, log } = this.#options;
    const waiting = this.#pending.splice(0);
    for (const [at, conversation] of waiting.entries())
      try {
        await publish(outbox, "conversations", conversation);
        this.#count("recorded");
      } catch (error) {
        const left = waiting.slice(at);
        if (!last) for (const each of left) this.#postpone(each);
        else {
          for (const _each of left) this.#count("lost");
          log.error({ lost: left.length, reason: messageOf(error) }, "conversations were lost: Redis did not come back");
        }
        return;
      }
  }

  #count(outcome: "recorded" | "lost"): void {
    this.#options.metrics.conversationsRecorded.inc({ outcome });
  }
}
