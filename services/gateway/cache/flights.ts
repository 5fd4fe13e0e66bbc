/**
 * Single flight: of all who miss the same answer at once, in this process and in the other gateways, one asks the model. In this process the
 * others take part in its flight; in another process they wait for the entry, or for the end of the lock, and go on their own when it takes too long.
 */
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { within } from "../within.ts";
import type { CachedAnswer } from "./entries.ts";
import { Flight } from "./flight.ts";
import type { CacheKey } from "./key.ts";
import { isLocked, takeLock, type Lock } from "./lock.ts";

/** Another gateway's answer is waited for so long, while its lock lives. */
const mostWaitMs = 120_000;
/** Announcements may be lost: then the lock and the entry are looked at. */
const lookMs = 500;

export interface Boarding {
  readonly flight: Flight;
  /** Whether another request of this process was here before. */
  readonly joined: boolean;
  /** To be called when this request has ended, however it ended. */
  leave(): void;
}

interface Departure {
  readonly flight: Flight;
  /** The answer, when another gateway had it; otherwise null and the flight may begin. */
  readonly ready: Promise<CachedAnswer | null>;
  aboard: number;
}

interface FlightsOptions {
  readonly redis: Redis;
  readonly budgetMs: number;
  readonly log: Logger;
  /** The entry, where it is there. */
  readonly read: (key: CacheKey) => Promise<CachedAnswer | null>;
  /** Tells the other gateways that the flight has ended without an entry. */
  readonly announceEnd: (name: string) => Promise<void>;
}

export class Flights {
  readonly #options: FlightsOptions;
  readonly #departures = new Map<string, Departure>();
  readonly #locks = new Map<string, Lock>();
  /** Who waits for another gateway, by the flight's name: the entry's id, and how long the answer may be. */
  readonly #waiting = new Map<string, Set<(ended: boolean) => void>>();

  constructor(options: FlightsOptions) {
    this.#options = options;
  }

  /** An answer that came in the meantime, or a place on the flight. */
  async board(key: CacheKey): Promise<CachedAnswer | Boarding> {
    // An answer that was cut short for one is no answer for another.
    const name = `${key.exact} ${key.maxTokens ?? ""}`;
    const found = this.#departures.get(name);
    const present = found?.flight.failed === true ? undefined : found;
    const departure = present ?? this.#open(name, key);
    departure.aboard++;
    const answer = await departure.ready;
    if (answer !== null) {
      this.#leave(name, departure);
      return answer;
    }
    let left = false;
    const leave = () => {
      if (!left) this.#leave(name, departure);
      left = true;
    };
    return { flight: departure.flight, joined: present !== undefined, leave };
  }

  /** The entry is there: who asks from now on finds it. */
  landed(key: CacheKey): void {
    for (const name of [...this.#departures.keys()]) if (name.startsWith(key.exact)) this.#departures.delete(name);
    for (const name of [...this.#locks.keys()]) if (name.startsWith(key.exact)) void this.#unlock(name);
  }

  /** Another gateway stored the entry of this id, or a flight of this name ended without one. */
  heard(id: string, ended: boolean): void {
    for (const [name, waiting] of [...this.#waiting]) if (name.startsWith(id)) for (const wake of [...waiting]) wake(ended);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#locks.keys()].map((name) => this.#unlock(name)));
  }

  #open(name: string, key: CacheKey): Departure {
    const departure: Departure = { flight: new Flight(`chatcmpl-${randomUUID()}`), ready: this.#clear(name, key), aboard: 0 };
    this.#departures.set(name, departure);
    return departure;
  }

  /** The last one out ends the flight: without an entry, or `landed` had been called before. */
  #leave(name: string, departure: Departure): void {
    departure.aboard--;
    if (departure.aboard > 0) return;
    if (this.#departures.get(name) === departure) this.#departures.delete(name);
    if (!this.#locks.has(name)) return;
    void this.#unlock(name)
      .then(() => this.#options.announceEnd(name))
      .catch(() => undefined);
  }

  async #unlock(name: string): Promise<void> {
    const lock = this.#locks.get(name);
    this.#locks.delete(name);
    await lock?.release();
  }

  /** Takes the lock, or waits until there is an answer or no lock. Without Redis it begins at once. */
  async #clear(name: string, key: CacheKey): Promise<CachedAnswer | null> {
    const { redis, budgetMs, log, read } = this.#options;
    const end = Date.now() + mostWaitMs;
    try {
      while (Date.now() < end) {
        const lock = await within(budgetMs, takeLock(redis, name));
        if (lock !== null) {
          this.#locks.set(name, lock);
          // Whoever had it may have stored the entry since we looked.
          const answer = await within(budgetMs, read(key));
          if (answer !== null) await this.#unlock(name);
          return answer;
        }
        const outcome = await this.#wait(name, key);
        if (outcome !== "free") return outcome === "ended" ? null : outcome;
      }
    } catch (error) {
      log.warn({ reason: messageOf(error) }, "the cache's lock did not answer; asking the model");
    }
    return null;
  }

  /** Until the entry is there, its flight has ended without one, or the lock is gone because its owner died. */
  async #wait(name: string, key: CacheKey): Promise<CachedAnswer | "ended" | "free"> {
    const { redis, budgetMs, read } = this.#options;
    const until = Date.now() + mostWaitMs;
    for (;;) {
      const ended = await this.#hear(name);
      const answer = await within(budgetMs, read(key));
      if (answer !== null) return answer;
      if (ended || Date.now() > until) return "ended";
      if (!(await within(budgetMs, isLocked(redis, name)))) return "free";
    }
  }

  /** @returns whether the flight ended without an entry; false after a while, too */
  #hear(name: string): Promise<boolean> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(name) ?? new Set();
      this.#waiting.set(name, waiting);
      const wake = (ended: boolean) => {
        clearTimeout(timer);
        waiting.delete(wake);
        if (waiting.size === 0) this.#waiting.delete(name);
        resolve(ended);
      };
      const timer = setTimeout(() => wake(false), lookMs);
      waiting.add(wake);
    });
  }
}
