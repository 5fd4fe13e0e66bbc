/**
 * Reads entries by their own key. What is asked for in one turn of the event loop goes to Redis in one write, and the same key once: under load this
 * halves what an exact hit costs.
 */
import { cacheEntryPrefix } from "../../../shared/events/cache_entry.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { answerOf, readyField, type CachedAnswer } from "./entries.ts";

interface Waiting {
  readonly resolve: (answer: CachedAnswer | null) => void;
  readonly reject: (error: unknown) => void;
}

export class ExactReader {
  readonly #redis: Redis;
  #asked = new Map<string, Waiting[]>();

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** null: not there, or damaged. @throws what Redis throws */
  read(id: string): Promise<CachedAnswer | null> {
    return new Promise((resolve, reject) => {
      if (this.#asked.size === 0) setImmediate(() => this.#send());
      const waiting = this.#asked.get(id);
      if (waiting === undefined) this.#asked.set(id, [{ resolve, reject }]);
      else waiting.push({ resolve, reject });
    });
  }

  #send(): void {
    const asked = this.#asked;
    this.#asked = new Map();
    const [first] = asked;
    if (first === undefined) return;
    if (asked.size === 1) {
      this.#redis.hget(cacheEntryPrefix + first[0], readyField).then(
        (ready) => settle(first[1], null, ready),
        (error: unknown) => settle(first[1], error, null),
      );
      return;
    }
    const pipeline = this.#redis.pipeline();
    for (const id of asked.keys()) pipeline.hget(cacheEntryPrefix + id, readyField);
    pipeline.exec().then(
      (replies) => {
        let at = 0;
        for (const waiting of asked.values()) {
          const [error, ready] = replies?.[at++] ?? [new Error("no reply"), null];
          settle(waiting, error, typeof ready === "string" ? ready : null);
        }
      },
      (error: unknown) => {
        for (const waiting of asked.values()) settle(waiting, error, null);
      },
    );
  }
}

function settle(waiting: readonly Waiting[], error: unknown, ready: string | null): void {
  const answer = error === null ? answerOf(ready) : null;
  for (const { resolve, reject } of waiting) {
    if (error === null) resolve(answer);
    else reject(error);
  }
}
