/**
 * How a run is asked to stop across processes: a key in Redis that the trainer at work on the run looks at. A key and not a message, because a
 * message that is sent while the trainer starts again is lost.
 */
import type { Redis } from "ioredis";

const secondsKept = 86_400;
const keyOf = (runId: string) => `everlora:runs:cancel:${runId}`;

export async function requestCancel(redis: Redis, runId: string): Promise<void> {
  await redis.set(keyOf(runId), "1", "EX", secondsKept);
}

export async function cancelRequested(redis: Redis, runId: string): Promise<boolean> {
  return (await redis.exists(keyOf(runId))) === 1;
}

export async function forgetCancel(redis: Redis, runId: string): Promise<void> {
  await redis.del(keyOf(runId));
}
