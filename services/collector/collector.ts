/** The collector's parts, put together and taken apart in order: lock, store, Redis, HTTP, then the readers. */
import { hostname } from "node:os";
import { join } from "node:path";
import type { Logger } from "pino";
import type { RunningService } from "../../shared/config/lifecycle.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { EverloraError, messageOf } from "../../shared/errors/errors.ts";
import { sha256 } from "../../shared/events/conversation.ts";
import { openFineTuneQueue } from "../../shared/events/queues.ts";
import { createApp, listen } from "../../shared/http/app.ts";
import { loadApiKey } from "../../shared/http/auth.ts";
import { createMetrics, type Metrics } from "../../shared/metrics/metrics.ts";
import { openRedis, requireNoEviction, type Redis } from "../../shared/redis/redis.ts";
import type { Anonymiser } from "../../shared/anonymise/anonymiser.ts";
import { openAnonymiser } from "../../shared/anonymise/open.ts";
import { tuneCompiler } from "./compiler.ts";
import { createIntake } from "./intake.ts";
import { createOperations, operationRoutes, type Operations } from "./operations.ts";
import { startFeedbackReader } from "./readers/feedback.ts";
import { startScanner, type Scanner } from "./readers/scanner.ts";
import { startStreamReader, type StreamReader } from "./readers/stream.ts";
import { createRetrainer } from "./sorting/retrainer.ts";
import { sources } from "./sources/sources.ts";
import { statusRouter } from "./status.ts";
import { acquireLock } from "./store/lock.ts";
import { openStore, type Store } from "./store/store.ts";
import { createThreshold } from "./threshold/threshold.ts";

/**
 * Starts everything; when it resolves the collector is reading.
 * @throws EverloraError invalid_settings, redis_unavailable, redis_misconfigured, port_in_use, or conflict when another collector writes there
 */
export async function startCollector(settings: Settings, log: Logger): Promise<RunningService & { readonly operations: Operations }> {
  tuneCompiler();
  const opened: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (const end of opened.splice(0).reverse()) await end();
  };
  try {
    return { ...(await open(settings, log, opened)), close };
  } catch (error) {
    await close().catch((failure: unknown) => log.warn({ reason: messageOf(failure) }, "could not close everything after a failed start"));
    throw error;
  }
}

async function open(settings: Settings, log: Logger, opened: (() => Promise<unknown>)[]): Promise<{ url: string; operations: Operations }> {
  if (settings.REDIS_URL === undefined) throw new EverloraError("invalid_settings", "REDIS_URL is not set; the collector reads its stream from there.", { param: "REDIS_URL", hint: "Set REDIS_URL=redis://host:port, or start everything with ./everlora up, which brings a Redis of its own." });
  const paths = pathsOf(settings);
  const domains = loadDomains(settings.DATA_DIR);
  const anonymiser = await openAnonymiser(settings);
  const metrics = createMetrics("collector");

  const lock = await acquireLock(join(paths.trainingData, ".collector.lock"));
  opened.push(() => lock.release());
  const store = await openStore(paths.trainingData, domains.map((domain) => domain.name), log);
  opened.push(async () => {
    await store.save("at the end");
    store.close();
  });
  showRows(store, metrics);

  const streamRedis = await openRedis(settings.REDIS_URL, "patient", log);
  opened.push(async () => streamRedis.disconnect());
  const queueRedis = await openRedis(settings.REDIS_URL, "failFast", log);
  opened.push(async () => queueRedis.disconnect());
  await requireNoEviction(queueRedis, log);
  const cacheRedis = await openRedis(settings.CACHE_REDIS_URL ?? settings.REDIS_URL, "failFast", log, settings.CACHE_REDIS_URL === undefined ? "REDIS_URL" : "CACHE_REDIS_URL");
  opened.push(async () => cacheRedis.disconnect());
  await leaveNoTrace(cacheRedis);
  const queue = openFineTuneQueue(queueRedis);
  queue.on("error", (error) => log.warn({ reason: error.message }, "the queue of training jobs is not reachable"));
  opened.push(() => queue.close().catch(() => undefined));

  const parts = { anonymiser, domains, heldOutShare: settings.HELD_OUT_SHARE, days: settings.TRAINING_DATA_DAYS, longest: settings.MAX_ROW_CHARACTERS };
  const tallied = () => [...store.tallies.values()];
  const retrainer = createRetrainer({ trainingData: paths.trainingData, dataDir: settings.DATA_DIR, domains, rows: () => tallied().reduce((sum, { counts }) => sum + counts.rows, 0), lastCollected: () => Math.max(0, ...tallied().map(({ lastCollected }) => lastCollected)), removals: () => store.removals, log });
  opened.push(() => retrainer.settled());
  const intake = createIntake(store, { ...parts, learn: retrainer.learn }, metrics, log);
  const threshold = await createThreshold({ enabled: settings.ENABLE_FINE_TUNING, domains, minExamples: settings.MIN_EXAMPLES_PER_DOMAIN, days: settings.TRAINING_DATA_DAYS, trainingData: paths.trainingData, tallies: () => store.tallies, queue, metrics, log });

  const readers: { stream?: StreamReader; scanner?: Scanner } = {};
  const { apiKey } = await loadApiKey(settings.EVERLORA_API_KEY, paths.apiKeyFile);
  const notReady = () => (streamRedis.status === "ready" && queueRedis.status === "ready" ? (cacheRedis.status === "ready" ? null : "the cache's Redis is not reachable") : "Redis is not reachable");
  const operations = createOperations({ paths, settings, apiKey, store, intake, threshold, domains: domains.map(({ name }) => name), stream: () => readers.stream, scanner: () => readers.scanner });
  const router = statusRouter({ domains, store, threshold, stream: () => readers.stream, scanner: () => readers.scanner }).use(operationRoutes(operations));
  const app = createApp({ router, apiKey, metrics, log, maxBodyBytes: settings.MAX_BODY_BYTES, notReady });
  const listening = await listen(app, settings.HOST, settings.COLLECTOR_PORT, "COLLECTOR_PORT");
  opened.push(() => listening.close());
  await lock.announce(listening.url);

  // Either reader may come to rest while the other is at work; the last one to do so looks. One that never rests must not keep the threshold waiting.
  let lookedAt = Date.now();
  const patienceMs = Math.max(settings.COLLECT_INTERVAL * 1_000, 30_000);
  const look = async (others: boolean) => {
    if (others && Date.now() - lookedAt < patienceMs) return;
    lookedAt = Date.now();
    await threshold.evaluate();
    retrainer.look();
  };
  const scanner = startScanner({ redis: cacheRedis, sources, intake, metrics, log, intervalMs: settings.COLLECT_INTERVAL * 1_000, safeKey: (key) => printable(key, anonymiser), onQuiet: () => look(readers.stream?.busy ?? false) });
  readers.scanner = scanner;
  opened.push(() => scanner.stop());
  const stream = startStreamReader({ redis: streamRedis, intake, metrics, log, safeText: (text) => printable(text, anonymiser), consumer: consumerName(paths.trainingData), onQuiet: () => look(scanner.scanning) });
  readers.stream = stream;
  opened.push(() => stream.stop());
  const feedback = startFeedbackReader({ redis: queueRedis, store, intake, log, consumer: consumerName(paths.trainingData), intervalMs: settings.COLLECT_INTERVAL * 1_000 });
  opened.push(() => feedback.stop());
  return { url: listening.url, operations };
}

/** Reading must not make an entry look used, or the server would keep it and evict another (Redis 7.2 and later; earlier ones can't be asked). */
async function leaveNoTrace(redis: Redis): Promise<void> {
  const ask = async () => {
    await redis.call("CLIENT", "NO-TOUCH", "ON").catch(() => undefined);
  };
  redis.on("ready", () => void ask());
  await ask();
}

/** Stable over restarts on one machine, and another one for each data folder. */
function consumerName(trainingData: string): string {
  return `${hostname()}-${sha256(trainingData).slice(0, 8)}`;
}

/** Keys, and entries that can't be read, are other people's words. */
function printable(key: string, anonymiser: Anonymiser): string {
  try {
    return anonymiser.text(key).text;
  } catch {
    return `sha256:${sha256(key)}`;
  }
}

/** The gauge starts from what is on disk. */
function showRows(store: Store, metrics: Metrics<"collector">): void {
  for (const [domain, { counts }] of store.tallies) {
    metrics.datasetRows.set({ domain, split: "train" }, counts.train);
    metrics.datasetRows.set({ domain, split: "held-out" }, counts.heldOut);
  }
}
