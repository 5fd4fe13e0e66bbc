/**
 * Keeps what was said: the answer into the cache and the conversation onto the stream, in one MULTI where both are the same server, otherwise
 * the stream first. A conversation that Redis would not take waits here and is offered again, so that a short absence of Redis loses nothing.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";
import { publish, streams } from "../../../shared/events/streams.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { SemanticCache } from "../cache/cache.ts";
import type { NewEntry } from "../cache/entries.ts";

export interface RecorderOptions {
  /** Of REDIS_URL. */
  readonly outbox: Redis;
  /** Of CACHE_REDIS_URL; the same object where it is the same server. */
  readonly cacheRedis: Redis;
  readonly cache: SemanticCache;
  readonly log: Logger;
  readonly metrics: Pick<Metrics<"gateway">, "conversationsRecorded">;
}

/** About the conversations of some minutes of Redis being away; more would endanger the gateway itself. */
const mostPending = 2_000;
const retryMs = 1_000;

export class Recorder {
  readonly #options: RecorderOptions;
  #pending: Conversation[] = [];
  #retry: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** Never throws. @param entry null when the answer is not to be given again */
  async record(conversation: Conversation, entry: NewEntry | null): Promise<void> {
    const { outbox, cacheRedis, log } = this.#options;
    const together = entry !== null && outbox === cacheRedis;
    try {
      if (together) await this.#store(entry, conversation);
      else await publish(outbox, "conversations", conversation);
      this.#count("recorded");
    } catch (error) {
      log.warn({ conversation: conversation.id, reason: messageOf(error) }, "a conversation could not be recorded; trying again");
      this.#postpone(conversation);
      return;
    }
    if (entry === null || together) return;
    try {
      await this.#store(entry, null);
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

  async #store(entry: NewEntry, conversation: Conversation | null): Promise<void> {
    const { cacheRedis, cache } = this.#options;
    const semantic = await cache.prepare(entry);
    const multi = cacheRedis.multi();
    const stored = cache.addTo(multi, entry, semantic);
    if (conversation !== null) multi.xadd(streams.conversations.key, "*", "json", JSON.stringify(conversation));
    const replies = await multi.exec();
    const fault = replies === null ? new Error("the transaction was not executed") : replies.find(([error]) => error !== null)?.[0];
    if (fault !== undefined && fault !== null) throw fault;
    stored();
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
