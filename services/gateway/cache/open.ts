/** Puts the cache together as the settings and the server say: which embedding, which index. */
import type { Logger } from "pino";
import type { Settings } from "../../../shared/config/settings.ts";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { SemanticCache } from "./cache.ts";
import { builtIn, type Embedding } from "./embedding.ts";
import { LoopLag, type Lag } from "./lag.ts";
import { ProcessIndex } from "./process_index.ts";
import { SearchIndex } from "./search_index.ts";
import type { SemanticIndex } from "./semantic_index.ts";
import { VectorSetIndex } from "./vector_set_index.ts";

type IndexKind = SemanticIndex["kind"];

export interface OpenCacheOptions {
  readonly redis: Redis;
  readonly follower: Redis;
  readonly settings: Pick<Settings, "CACHE_TTL" | "CACHE_SIMILARITY" | "CACHE_UNCERTAINTY" | "CACHE_GATE" | "CACHE_DIALOGUES" | "CACHE_BUDGET" | "CACHE_LAG" | "CACHE_INDEX">;
  readonly log: Logger;
  readonly metrics: Metrics<"gateway">;
  /** Default: the built-in one. */
  readonly embedding?: Embedding;
  /** Default: this process' own. */
  readonly lag?: Lag;
}

/** @throws EverloraError redis_misconfigured when an index was asked for that the server doesn't have */
export async function openCache({ redis, follower, settings, log, metrics, embedding = builtIn, lag = new LoopLag() }: OpenCacheOptions): Promise<SemanticCache> {
  const kind = await chooseIndex(redis, settings.CACHE_INDEX, log);
  const common = { redis, dimension: embedding.dimension, ttlSeconds: settings.CACHE_TTL, log };
  const index = kind === "vector-set" ? new VectorSetIndex(common) : kind === "search" ? new SearchIndex(common) : new ProcessIndex({ ...common, onSize: (size) => metrics.cacheEntries.set(size) });
  const strict = settings.CACHE_GATE === "strict" || (settings.CACHE_GATE === "auto" && !embedding.knowsMeaning);
  log.info({ index: kind, embedding: embedding.identity, gate: strict ? "strict" : "facts" }, "cache");
  return new SemanticCache({
    redis,
    follower,
    embedding,
    index,
    ttlSeconds: settings.CACHE_TTL,
    similarity: settings.CACHE_SIMILARITY,
    uncertainty: settings.CACHE_UNCERTAINTY,
    strict,
    dialogues: settings.CACHE_DIALOGUES,
    budgetMs: settings.CACHE_BUDGET,
    lag,
    mostLagMs: settings.CACHE_LAG,
    log,
    metrics,
  });
}

/** The command that each index in the server needs. */
const commands: readonly (readonly [Exclude<IndexKind, "process">, string])[] = [
  ["vector-set", "VSIM"],
  ["search", "FT.SEARCH"],
];

async function chooseIndex(redis: Redis, wanted: IndexKind | "auto", log: Logger): Promise<IndexKind> {
  if (wanted === "process") return "process";
  const there = await serverHas(redis, log);
  if (wanted === "auto") return there[0] ?? "process";
  if (there.includes(wanted)) return wanted;
  throw new EverloraError("redis_misconfigured", `CACHE_INDEX=${wanted}, but the cache's Redis has ${there.length === 0 ? "neither vector sets nor RediSearch" : `only ${there.join(", ")}`}.`, { param: "CACHE_INDEX", hint: "Use Redis 8, or leave CACHE_INDEX at auto." });
}

/** COMMAND INFO answers nil for a command that the server doesn't know; a server that forbids asking has none of them for us. */
async function serverHas(redis: Redis, log: Logger): Promise<Exclude<IndexKind, "process">[]> {
  try {
    const reply: unknown = await redis.call("COMMAND", "INFO", ...commands.map(([, command]) => command));
    const known = Array.isArray(reply) ? (reply as unknown[]).map((each) => Array.isArray(each) && each.length > 0) : [];
    return commands.flatMap(([kind], at) => (known[at] === true ? [kind] : []));
  } catch (error) {
    log.warn({ reason: messageOf(error) }, "cannot ask Redis for its commands; vectors are searched in the gateway");
    return [];
  }
}
