/**
 * Single flight: of all who miss the same answer at once, in this process and in the other gateways, one asks the model. In this process the
 * others take part in its flight; in another process they wait for the entry, or for the end of the lock, and go on their own when it takes too long.
 */
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Batch } from "../../../shared/redis/batch.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { within } from "../within.ts";
import type { CachedAnswer } from "./entries.ts";
import { Flight } from "./flight.ts";
import type { Taken } from "./exact_reader.ts";
import type { CacheKey } from "./key.ts";
import { Locks } from "./lock.ts";

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
  /** The entry's id, and how long the answer may be. */
  readonly name: string;
  readonly flight: Flight;
  /** Whether this gateway has the lock of this name for it. */
  locked: boolean;
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
  /** The same, after having tried to take the lock of this name. */
  readonly take: (key: CacheKey, name: string, locks: Locks) => Promise<Taken>;
  /** Tells the other gateways that the flight has ended without an entry. */
  readonly announceEnd: (name: string) => Promise<void>;
}

export class Flights {
  readonly #options: FlightsOptions;
  /** By the entry's id: few, of different lengths. */
  readonly #departures = new Map<string, readonly Departure[]>();
  readonly #locks: Locks;
  /** Who waits for another gateway, by the flight's name. */
  readonly #waiting = new Map<string, Set<(ended: boolean) => void>>();

  constructor(options: FlightsOptions) {
    this.#options = options;
    this.#locks = new Locks(options.redis);
  }

  /** An answer that came in the meantime, or a place on the flight. */
  async board(key: CacheKey): Promise<CachedAnswer | Boarding> {
    // An answer that was cut short for one is no answer for another.
    const name = `${key.exact} ${key.maxTokens ?? ""}`;
    const present = this.#departures.get(key.exact)?.find((each) => each.name === name && !each.flight.failed);
    const departure = present ?? this.#open(name, key);
    departure.aboard++;
    const answer = await departure.ready;
    if (answer !== null) {
      this.#leave(key, departure);
      return answer;
    }
    let left = false;
    const leave = () => {
      if (!left) this.#leave(key, departure);
      left = true;
    };
    return { flight: departure.flight, joined: present !== undefined, leave };
  }

  /** Adds what ends the flights of these entries. @returns what to call once it was executed: who asks from then on finds the entries */
  landIn(commands: Batch, keys: readonly CacheKey[]): () => void {
    const locked = keys.flatMap(({ exact }) => this.#departures.get(exact)?.filter((each) => each.locked) ?? []);
    const released = this.#locks.releaseIn(commands, locked.map(({ name }) => name));
    return () => {
      released();
      for (const departure of locked) departure.locked = false;
      for (const { exact } of keys) this.#departures.delete(exact);
    };
  }

  /** Another gateway stored the entry of this id, or a flight of this name ended without one. */
  heard(id: string, ended: boolean): void {
    for (const [name, waiting] of [...this.#waiting]) if (name.startsWith(id)) for (const wake of [...waiting]) wake(ended);
  }

  async close(): Promise<void> {
    this.#locks.close();
    await Promise.all([...this.#departures.values()].flat().map((departure) => this.#unlock(departure)));
  }

  #open(name: string, key: CacheKey): Departure {
    const departure: { -readonly [Field in keyof Departure]: Departure[Field] } = { name, flight: new Flight(`chatcmpl-${randomUUID()}`), locked: false, ready: Promise.resolve(null), aboard: 0 };
    departure.ready = this.#clear(departure, key);
    const others = this.#departures.get(key.exact)?.filter((each) => each.name !== name) ?? [];
    this.#departures.set(key.exact, [...others, departure]);
    return departure;
  }

  /** The last one out ends the flight: without an entry, or `landed` had been called before. */
  #leave({ exact }: CacheKey, departure: Departure): void {
    departure.aboard--;
    if (departure.aboard > 0) return;
    const others = this.#departures.get(exact)?.filter((each) => each !== departure) ?? [];
    if (others.length === 0) this.#departures.delete(exact);
    else this.#departures.set(exact, others);
    if (!departure.locked) return;
    void this.#unlock(departure)
      .then(() => this.#options.announceEnd(departure.name))
      .catch(() => undefined);
  }

  async #unlock(departure: Departure): Promise<void> {
    if (!departure.locked) return;
    departure.locked = false;
    await this.#locks.release(departure.name);
  }

  /** Takes the lock, or waits until there is an answer or no lock. Without Redis it begins at once. */
  async #clear(departure: Departure, key: CacheKey): Promise<CachedAnswer | null> {
    const { budgetMs, log, take } = this.#options;
    const { name } = departure;
    const end = Date.now() + mostWaitMs;
    let givenUp = false;
    const taking = async () => {
      const taken = await take(key, name, this.#locks);
      if (taken.ours && givenUp) await this.#locks.release(name); // it came too late to be waited for
      else departure.locked = taken.ours;
      return taken;
    };
    try {
      while (Date.now() < end) {
        const { ours, answer } = await within(budgetMs, taking());
        if (answer !== null || ours) {
          if (answer !== null) await this.#unlock(departure);
          return answer;
        }
        const outcome = await this.#wait(name, key);
        if (outcome !== "free") return outcome === "ended" ? null : outcome;
      }
    } catch (error) {
      givenUp = true;
      log.warn({ reason: messageOf(error) }, "the cache's lock did not answer; asking the model");
    }
    return null;
  }

  /** Until the entry is there, its flight has ended without one, or the lock is gone because its owner died. */
  async #wait(name: string, key: CacheKey): Promise<CachedAnswer | "ended" | "free"> {
    const { budgetMs, read } = this.#options;
    const until = Date.now() + mostWaitMs;
    for (;;) {
      const ended = await this.#hear(name);
      const answer = await within(budgetMs, read(key));
      if (answer !== null) return answer;
      if (ended || Date.now() > until) return "ended";
      if (!(await within(budgetMs, this.#locks.isTaken(name)))) return "free";
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
