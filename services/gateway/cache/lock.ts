/**
 * One gateway at a time asks for an answer: a key in Redis with its owner's name, renewed while the owner works and gone soon after it died.
 * A hint, not a guarantee: whoever can't take it, or waits too long, asks the model as well.
 */
import { randomUUID } from "node:crypto";
import type { Batch } from "../../../shared/redis/batch.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { Together } from "../together.ts";

const prefix = "everlora:cache:flight:";
/** A dead owner's lock ends after this. */
const lockMs = 6_000;
const renewMs = 2_000;

/** Only the owner may end or renew them; several at once. */
const release = "for _, key in ipairs(KEYS) do if redis.call('get', key) == ARGV[1] then redis.call('del', key) end end";
const renew = "for _, key in ipairs(KEYS) do if redis.call('get', key) == ARGV[1] then redis.call('pexpire', key, ARGV[2]) end end";

export class Locks {
  readonly #redis: Redis;
  readonly #owner = randomUUID();
  readonly #held = new Set<string>();
  readonly #releases: Together<string, undefined>;
  readonly #timer: NodeJS.Timeout;

  constructor(redis: Redis) {
    this.#redis = redis;
    this.#releases = new Together(async (keys) => {
      await redis.eval(release, keys.length, ...keys, this.#owner).catch(() => undefined);
      return keys.map(() => undefined);
    });
    this.#timer = setInterval(() => this.#renew(), renewMs);
    this.#timer.unref();
  }

  /** Adds the command that takes it, and answers OK then. @returns what to call with that answer: whether it is ours */
  takeIn(commands: Batch, id: string): (reply: unknown) => boolean {
    const key = prefix + id;
    commands.add("set", key, this.#owner, "PX", lockMs, "NX");
    return (reply) => {
      if (reply !== "OK") return false;
      this.#held.add(key);
      return true;
    };
  }

  /** Adds the command that releases these. @returns what to call once it was executed */
  releaseIn(commands: Batch, ids: readonly string[]): () => void {
    const keys = ids.map((id) => prefix + id);
    if (keys.length > 0) commands.add("eval", release, keys.length, ...keys, this.#owner);
    return () => {
      for (const key of keys) this.#held.delete(key);
    };
  }

  /** A Redis that is away lets it expire. */
  async release(id: string): Promise<void> {
    const key = prefix + id;
    if (this.#held.delete(key)) await this.#releases.do(key);
  }

  /** @throws what Redis throws */
  async isTaken(id: string): Promise<boolean> {
    return (await this.#redis.exists(prefix + id)) === 1;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #renew(): void {
    if (this.#held.size > 0) this.#redis.eval(renew, this.#held.size, ...this.#held, this.#owner, lockMs).catch(() => undefined);
  }
}
