/** Puts the cache together as the settings say: which embedding, which index. */
import type { Logger } from "pino";
import type { Settings } from "../../../shared/config/settings.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { SemanticCache } from "./cache.ts";
import { builtIn, type Embedding } from "./embedding.ts";
import { ProcessIndex } from "./process_index.ts";

export interface OpenCacheOptions {
  readonly redis: Redis;
  readonly follower: Redis;
  readonly settings: Pick<Settings, "CACHE_TTL" | "CACHE_SIMILARITY" | "CACHE_UNCERTAINTY" | "CACHE_GATE" | "CACHE_DIALOGUES" | "CACHE_BUDGET" | "CACHE_INDEX">;
  readonly log: Logger;
  readonly metrics: Metrics<"gateway">;
  /** Default: the built-in one. */
  readonly embedding?: Embedding;
}

export function openCache({ redis, follower, settings, log, metrics, embedding = builtIn }: OpenCacheOptions): Promise<SemanticCache> {
  const { dimension } = embedding;
  const index = new ProcessIndex({ redis, dimension, log, onSize: (size) => metrics.cacheEntries.set(size) });
  return Promise.resolve(new SemanticCache({
    redis,
    follower,
    embedding,
    index,
    ttlSeconds: settings.CACHE_TTL,
    similarity: settings.CACHE_SIMILARITY,
    uncertainty: settings.CACHE_UNCERTAINTY,
    strict: settings.CACHE_GATE === "strict" || (settings.CACHE_GATE === "auto" && !embedding.knowsMeaning),
    dialogues: settings.CACHE_DIALOGUES,
    budgetMs: settings.CACHE_BUDGET,
    log,
    metrics,
  }));
}
