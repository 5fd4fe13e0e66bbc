/** The gateway with all that it stands on, opened before a suite and closed after it: Redis and a connection to it, a data folder, where wanted a teacher. */
import type OpenAI from "openai";
import { silentLogger } from "../../../shared/log/log.ts";
import { openRedis, type Redis } from "../../../shared/redis/redis.ts";
import { startRedis, type TestRedis } from "../../support/redis.ts";
import { newDataDir, startTestGateway, type TestGateway } from "./gateway.ts";
import { startUpstream, type TestUpstream } from "./upstream.ts";

export interface Site {
  readonly redis: TestRedis;
  /** A connection to it. */
  readonly direct: Redis;
  readonly data: Awaited<ReturnType<typeof newDataDir>>;
  readonly gateway: TestGateway;
  readonly client: OpenAI;
  stop(this: void): Promise<void>;
}

/** @param prepare fills the data folder before the gateway starts */
export async function startSite(environment: Record<string, string> = {}, prepare: (dataDir: string) => Promise<void> = async () => undefined): Promise<Site> {
  const redis = await startRedis();
  const direct = await openRedis(redis.url, "failFast", silentLogger);
  const data = await newDataDir();
  await prepare(data.path);
  const gateway = await startTestGateway({ REDIS_URL: redis.url, ...environment }, { dataDir: data.path });
  const stop = async () => {
    await gateway.stop();
    direct.disconnect();
    await redis.stop();
    await data.remove();
  };
  return { redis, direct, data, gateway, client: gateway.client, stop };
}

/** The same with a scripted upstream whose model is called `teacher`. */
export async function startTaughtSite(environment: Record<string, string> = {}): Promise<Site & { readonly upstream: TestUpstream }> {
  const upstream = await startUpstream();
  const site = await startSite({ UPSTREAM_URL: upstream.url, UPSTREAM_MODEL: "teacher", ...environment });
  const stop = async () => {
    await site.stop();
    await upstream.stop();
  };
  return { ...site, upstream, stop };
}
