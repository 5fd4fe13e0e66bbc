/** What the collector's tests share: conversations to say, a collector to start, and ways to see what it did. */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { loadSettings, type Settings } from "../../shared/config/settings.ts";
import { cacheEntryPrefix } from "../../shared/events/cache_entry.ts";
import type { Row } from "../../shared/datasets/row.ts";
import { readRows, rowsFile } from "../../shared/datasets/rows.ts";
import { conversationSchema, type Conversation } from "../../shared/events/conversation.ts";
import { silentLogger, type Logger } from "../../shared/log/log.ts";
import type { Redis } from "../../shared/redis/redis.ts";
import { startCollector } from "../../services/collector/collector.ts";
import type { CollectorStatus } from "../../services/collector/status.ts";

export const apiKey = "test-key-for-the-collector";

/** A good conversation with its own words, so that no two are near-duplicates. @param topic decides the domain */
export function say(id: string, question: string, answer: string, change: Partial<Conversation> = {}): Conversation {
  return conversationSchema.parse({ version: 1, id, createdAt: Date.now(), caller: "", messages: [{ role: "user", content: question }], answer: { role: "assistant", content: answer }, source: "import", model: "teacher", generation: null, ...change });
}

const subjects = "alpaca bagpipe cactus dolmen ermine falcon gazebo hammock igloo jackal kettle lantern mango nutmeg otter pebble quartz raven saffron thistle umber velvet walrus xylem yarrow zephyr".split(" ");

/** The n-th of many conversations about law, all different. */
export function aboutLaw(number: number, change: Partial<Conversation> = {}): Conversation {
  const [a = "", b = "", c = ""] = [subjects[number % 26], subjects[(number * 7 + 3) % 26], subjects[Math.floor(number / 26) % 26]];
  const own = `${a}${number} ${b}${number * 31} ${c}${number * 17}`;
  return say(`law-${number}`, `Can my landlord end the lease contract about the ${own} without a court?`, `For the ${own} the ${b} clause of lease ${c}${number} decides: the ${a} tenant ${number * 13} may ask a lawyer about ${b}${c}.`, change);
}

export function settingsFor(dataDir: string, redisUrl: string, change: Record<string, string> = {}): Settings {
  return loadSettings({ DATA_DIR: dataDir, REDIS_URL: redisUrl, COLLECTOR_PORT: "0", EVERLORA_API_KEY: apiKey, COLLECT_INTERVAL: "0.2", MIN_EXAMPLES_PER_DOMAIN: "1000000", ...change });
}

export async function startTestCollector(dataDir: string, redisUrl: string, change: Record<string, string> = {}, log: Logger = silentLogger): ReturnType<typeof startCollector> {
  return startCollector(settingsFor(dataDir, redisUrl, change), log);
}

export async function newFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "everlora-collector-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export async function get(url: string, path: string): Promise<Response> {
  return fetch(`${url}${path}`, { headers: { authorization: `Bearer ${apiKey}` } });
}

export async function statusOf(url: string): Promise<CollectorStatus> {
  return (await (await get(url, "/status")).json()) as CollectorStatus;
}

/** The sum of rows and drops over all domains. */
export const foundIn = (status: CollectorStatus) => status.domains.reduce((sum, domain) => sum + domain.found, 0);

/** Looks until it holds. What is looked at lives in another process or behind HTTP, where nothing can be awaited. */
export async function until<T>(look: () => Promise<T>, holds: (value: T) => boolean, what: string): Promise<T> {
  for (let tries = 0; ; tries++) {
    const value = await look();
    if (holds(value)) return value;
    if (tries > 1_200) throw new Error(`never happened: ${what}; last: ${JSON.stringify(value)?.slice(0, 2_000)}`);
    await pause(25);
  }
}

export async function leaveInCache(redis: Redis, conversations: readonly Conversation[], seconds = 3_600): Promise<void> {
  const pipeline = redis.pipeline();
  for (const conversation of conversations) pipeline.hset(`${cacheEntryPrefix}${conversation.id}`, "conversation", JSON.stringify(conversation)).expire(`${cacheEntryPrefix}${conversation.id}`, seconds);
  await pipeline.exec();
}

/** All rows of all domains. @param strict whether a line that is no row fails the test (after a kill there may be a torn one) */
export async function allRows(dataDir: string, strict = true): Promise<Row[]> {
  const rows: Row[] = [];
  const folder = join(dataDir, "training_data");
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    for await (const row of readRows(join(folder, entry.name, rowsFile), (fault) => {
      if (strict) throw new Error(`bad line ${fault.line}: ${fault.reason}`);
    }))
      rows.push(row);
  }
  return rows;
}

/** Every byte that lies in a folder, as text. */
export async function everythingIn(folder: string): Promise<string> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const texts = await Promise.all(names.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name), "utf8")));
  return texts.join("\n");
}
