/**
 * The only file that opens Redis. Two connection profiles, because a server and a queue worker want opposite things when Redis is away:
 * `failFast` answers at once with an error (an HTTP handler turns it into 503), `patient` waits for ever (BullMQ workers, stream readers).
 */
import { Redis } from "ioredis";
import type { Logger } from "pino";
import { EverloraError, messageOf } from "../errors/errors.ts";

export { Command } from "ioredis";
export type { Redis } from "ioredis";
export type Profile = "failFast" | "patient";

const profiles = {
  failFast: { enableOfflineQueue: false, maxRetriesPerRequest: 1, commandTimeout: 5_000 },
  patient: { enableOfflineQueue: true, maxRetriesPerRequest: null },
} as const;

/**
 * The queue's Redis. `everlora up` always sets it; a service that is started by itself needs it from the environment.
 * @throws EverloraError invalid_settings
 */
export function redisUrlOf(settings: { readonly REDIS_URL?: string | undefined }): string {
  if (settings.REDIS_URL !== undefined) return settings.REDIS_URL;
  throw new EverloraError("invalid_settings", "REDIS_URL is not set.", { param: "REDIS_URL", hint: "Set REDIS_URL to the Redis server of the queue, for example redis://127.0.0.1:6379, or run ./everlora up, which starts one." });
}

/**
 * A connected client. It reconnects by itself later; every `error` event is logged (an unheard one would end the process).
 * @param setting where the URL is from, for the message
 * @throws EverloraError redis_unavailable when the first connection fails; the message names the address without its password
 */
export async function openRedis(url: string, profile: Profile, log: Logger, setting: "REDIS_URL" | "CACHE_REDIS_URL" = "REDIS_URL"): Promise<Redis> {
  const redis = new Redis(url, {
    ...profiles[profile],
    lazyConnect: true,
    connectTimeout: 5_000,
    retryStrategy: (attempt) => Math.min(50 * 2 ** attempt, 2_000),
  });
  let lastLogged = 0;
  redis.on("error", (error: Error) => {
    if (Date.now() - lastLogged < 5_000) return; // reconnecting raises one per attempt
    lastLogged = Date.now();
    log.error({ redis: addressOf(url), reason: error.message }, "redis connection error");
  });
  try {
    await connectOnce(redis);
  } catch (error) {
    redis.disconnect();
    throw new EverloraError("redis_unavailable", `Cannot reach Redis at ${addressOf(url)}: ${messageOf(error)}`, { param: setting, hint: mendOf(messageOf(error), setting), cause: error });
  }
  return redis;
}

/** By Redis' own words, and ioredis' about what is not RESP. */
function mendOf(reason: string, setting: string): string {
  if (/\b(?:WRONGPASS|NOAUTH)\b/.test(reason)) return `Put the password that this server asks for into ${setting}: redis://:<password>@host:port`;
  if (reason.includes("RESP type")) return `What listens there is no Redis server: mend the port in ${setting}.`;
  return `Check that Redis is running and that ${setting} names it.`;
}

/** ioredis' own connect() retries for ever under the patient profile; the first connection must succeed or say why. */
async function connectOnce(redis: Redis): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    redis.once("ready", resolve);
    redis.once("error", reject);
    redis.once("end", () => reject(new Error("connection ended")));
    redis.connect().catch(reject);
  });
}

/**
 * Queue and streams must never be evicted: BullMQ is only correct under `noeviction`.
 * @throws EverloraError redis_misconfigured when the server may evict
 */
export async function requireNoEviction(redis: Redis, log: Logger): Promise<void> {
  let policy: string | undefined;
  try {
    const reply: unknown = await redis.config("GET", "maxmemory-policy");
    policy = Array.isArray(reply) ? String(reply[1]) : undefined;
  } catch (error) {
    log.warn({ reason: messageOf(error) }, "cannot read maxmemory-policy (CONFIG is not allowed); make sure that it is noeviction");
    return;
  }
  if (policy !== undefined && policy !== "noeviction") {
    throw new EverloraError("redis_misconfigured", `Redis has maxmemory-policy ${policy}; the queue needs noeviction.`, {
      param: "REDIS_URL",
      hint: "Run: redis-cli CONFIG SET maxmemory-policy noeviction, or give the cache a server of its own in CACHE_REDIS_URL.",
    });
  }
}

/** host:port/db of a Redis URL, without credentials. */
export function addressOf(url: string): string {
  const { hostname, port, pathname } = new URL(url);
  return `${hostname}:${port === "" ? "6379" : port}${pathname}`;
}
