/** A gateway with the scripted engine, a data folder of its own and the official client, for one test file. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { loadSettings, type Settings } from "../../../shared/config/settings.ts";
import { publish } from "../../../shared/events/streams.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { silentLogger, type Logger } from "../../../shared/log/log.ts";
import { publishAdapter, writeLive } from "../../../shared/peft/registry.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { Lag } from "../../../services/gateway/cache/lag.ts";
import { startGateway } from "../../../services/gateway/gateway.ts";

export const fakeEngine = fileURLToPath(new URL("../../support/fake_engine.ts", import.meta.url));
export const apiKey = "test-key-0123456789";

export interface TestGateway {
  readonly url: string;
  readonly client: OpenAI;
  readonly dataDir: string;
  readonly settings: Settings;
  /** With the key; a body becomes JSON. */
  call(path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Sum of a metric over the label values given, from /metrics. */
  metric(name: string, labels?: Record<string, string>): Promise<number>;
  engineLog(this: void): Promise<string[]>;
  stop(): Promise<void>;
}

export async function newDataDir(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "everlora-gateway-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export function testSettings(dataDir: string, environment: Record<string, string>): Settings {
  return loadSettings({ DATA_DIR: dataDir, BASE_MODEL: "tiny-fake", EVERLORA_API_KEY: apiKey, GATEWAY_PORT: "0", LOG_LEVEL: "silent", CACHE_BUDGET: "5000", CACHE_LAG: "60000", ...environment });
}

/** @param environment settings; REDIS_URL at least */
export async function startTestGateway(environment: Record<string, string>, options: { dataDir?: string; log?: Logger; lag?: Lag; onListening?: (url: string) => void } = {}): Promise<TestGateway> {
  const own = options.dataDir === undefined ? await newDataDir() : undefined;
  const dataDir = options.dataDir ?? own?.path ?? "";
  const settings = testSettings(dataDir, environment);
  const gateway = await startGateway(settings, options.log ?? silentLogger, { engineScript: fakeEngine, ...(options.lag === undefined ? {} : { lag: options.lag }), ...(options.onListening === undefined ? {} : { onListening: options.onListening }) }).catch(async (error: unknown) => {
    await own?.remove();
    throw error;
  });
  const call: TestGateway["call"] = (path, body, headers = {}) =>
    fetch(gateway.url + path, { method: body === undefined ? "GET" : "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json", ...headers }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  return {
    url: gateway.url,
    client: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 }),
    dataDir,
    settings,
    call,
    metric: async (name, labels = {}) => {
      const lines = (await (await call("/metrics")).text()).split("\n").filter((line) => line.startsWith(`${name}{`) && Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
    },
    engineLog: async () => (await readFile(join(dataDir, "fake-engine.log"), "utf8")).trim().split("\n"),
    stop: async () => {
      await gateway.close();
      await own?.remove();
    },
  };
}

/** An adapter folder for the scripted engine; other `content`, other generation. */
export async function storeAdapter(dataDir: string, domain: string, content: string, base = "tiny-fake"): Promise<string> {
  const { generation } = await publishAdapter({
    loras: join(dataDir, "loras"),
    domain,
    config: { r: 1 },
    weights: Buffer.from(content),
    base: { name: base, sha256: sha256(`fake ${base}`) },
    runId: "run-test-000000",
    heldOut: { base: 2, adapter: 1, rows: 1, tokens: 1 },
  });
  return generation;
}

/** Points the domain at the generation and rings the bell, as a publisher does. */
export async function goLive(redis: Redis, dataDir: string, domain: string, generation: string | null): Promise<void> {
  await writeLive(join(dataDir, "loras"), domain, { generation, reason: "test" });
  await publish(redis, "adapters", { type: "published", domain, generation, at: Date.now() });
}

export const user = (content: string) => ({ role: "user" as const, content });
