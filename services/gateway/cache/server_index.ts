/** What an index in the cache's own server has in common, whichever it is: the server knows all, and nothing is kept here. */
import type { Logger } from "pino";
import type { Redis } from "../../../shared/redis/redis.ts";

export interface ServerIndexOptions {
  readonly redis: Redis;
  readonly dimension: number;
  readonly ttlSeconds: number;
  readonly log: Logger;
}

export abstract class ServerIndex {
  /** The server knows. */
  readonly size = 0;
  protected readonly redis: Redis;

  constructor({ redis }: Pick<ServerIndexOptions, "redis">) {
    this.redis = redis;
  }

  /** The other gateway wrote it into the same index. */
  learn(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    // Nothing is kept here.
  }
}
