/**
 * One gateway at a time asks for an answer: a key in Redis with its owner's name, renewed while the owner works and gone soon after it died.
 * A hint, not a guarantee: whoever can't take it, or waits too long, asks the model as well.
 */
import { randomUUID } from "node:crypto";
import type { Redis } from "../../../shared/redis/redis.ts";

const prefix = "everlora:cache:flight:";
/** A dead owner's lock ends after this. */
export const lockMs = 6_000;
const renewMs = 2_000;

/** Only the owner may end or renew it. */
const release = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
const renew = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end";

export interface Lock {
  /** Once; a Redis that is away lets it expire. */
  release(): Promise<void>;
}

/** null: somebody else has it. @throws what Redis throws */
export async function takeLock(redis: Redis, id: string): Promise<Lock | null> {
  const key = prefix + id;
  const owner = randomUUID();
  if ((await redis.set(key, owner, "PX", lockMs, "NX")) === null) return null;
  const timer = setInterval(() => void redis.eval(renew, 1, key, owner, lockMs).catch(() => undefined), renewMs);
  timer.unref();
  return {
    release: async () => {
      clearInterval(timer);
      await redis.eval(release, 1, key, owner).catch(() => undefined);
    },
  };
}

/** @throws what Redis throws */
export async function isLocked(redis: Redis, id: string): Promise<boolean> {
  return (await redis.exists(prefix + id)) === 1;
}
