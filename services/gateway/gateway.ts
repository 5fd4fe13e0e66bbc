/**
 * Wires the gateway: Redis, engine, adapters, cache, routes. The port opens first, so that health and the reason for not being ready can be read
 * while the base model loads; what must not start half (a bad model folder, no Redis) fails the start.
 */
import { Router } from "express";
import type { RunningService } from "../../shared/config/lifecycle.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import { classify, loadDomains } from "../../shared/domains/domains.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { createApp, listen } from "../../shared/http/app.ts";
import { withDirectRoutes } from "../../shared/http/direct.ts";
import { loadApiKey } from "../../shared/http/auth.ts";
import type { Logger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { readLive, readManifest, verifyAdapter } from "../../shared/peft/registry.ts";
import { addressOf, openRedis, requireNoEviction, type Redis } from "../../shared/redis/redis.ts";
import { Adapters } from "./adapters/adapters.ts";
import { AdaptersByRequest } from "./adapters/by_request.ts";
import { builtIn } from "./cache/embedding.ts";
import { engineEmbedding } from "./cache/engine_embedding.ts";
import type { Lag } from "./cache/lag.ts";
import { openCache } from "./cache/open.ts";
import type { ChatDependencies } from "./chat/answer.ts";
import type { Engine } from "./engine/engine.ts";
import { openModels, openUpstream } from "./models.ts";
import { Recorder } from "./record/recorder.ts";
import { cacheRoutes } from "./routes/cache.ts";
import { chatRoutes } from "./routes/chat.ts";
import { compareRoutes } from "./routes/compare.ts";
import { embeddingRoutes } from "./routes/embeddings.ts";
import { loraRoutes } from "./routes/lora.ts";
import { feedbackRoutes } from "./routes/feedback.ts";
import { modelRoutes } from "./routes/models.ts";
import { textRoutes } from "./routes/text.ts";
import { follow, newestId } from "./streams.ts";

/** What the routes work with once everything stands. */
interface Ready extends ChatDependencies {
  readonly outbox: Redis;
  readonly engine: Engine | undefined;
  readonly adapters: Adapters;
  readonly byRequest: AdaptersByRequest;
  readonly since: number;
}

export interface GatewayOptions {
  /** Another engine child, for tests. */
  readonly engineScript?: string;
  /** Another measure of how late the event loop is, for tests. */
  readonly lag?: Lag;
  /** Called once the port is open, long before the promise resolves. */
  readonly onListening?: (url: string) => void;
}

/** @throws EverloraError invalid_settings, redis_unavailable, redis_misconfigured, port_in_use, or what keeps the engine from starting */
export async function startGateway(settings: Settings, log: Logger, options: GatewayOptions = {}): Promise<RunningService> {
  const closers: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    return { ...(await open(settings, log, options, closers)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function open(settings: Settings, log: Logger, options: GatewayOptions, closers: (() => Promise<void> | void)[]): Promise<Omit<RunningService, "close">> {
  const { REDIS_URL: redisUrl } = settings;
  if (redisUrl === undefined) throw new EverloraError("invalid_settings", "REDIS_URL is not set; the gateway needs it.", { param: "REDIS_URL" });
  const cacheUrl = settings.CACHE_REDIS_URL ?? redisUrl;
  const paths = pathsOf(settings);
  const domains = loadDomains(settings.DATA_DIR);
  const domainNames = new Set(domains.map(({ name }) => name));
  const { apiKey, created } = await loadApiKey(settings.EVERLORA_API_KEY, paths.apiKeyFile);
  if (created) log.info({ file: paths.apiKeyFile }, "made an API key");
  const metrics = createMetrics("gateway");
  const upstream = openUpstream(settings, metrics);
  closers.push(() => upstream?.close());

  const connect = async (url: string, profile: "failFast" | "patient") => {
    const redis = await openRedis(url, profile, log, url === redisUrl ? "REDIS_URL" : "CACHE_REDIS_URL");
    closers.push(() => redis.disconnect());
    return redis;
  };
  const outbox = await connect(redisUrl, "failFast");
  await requireNoEviction(outbox, log);
  const cacheRedis = addressOf(cacheUrl) === addressOf(redisUrl) ? outbox : await connect(cacheUrl, "failFast");
  const adapterBell = await connect(redisUrl, "patient");
  // The engine exists by the time that something is embedded.
  const embedding = settings.EMBEDDING_MODEL === undefined ? builtIn : await engineEmbedding(settings.EMBEDDING_MODEL, async (texts) => (await engine?.embed(texts))?.vectors ?? []);
  const cache = await openCache({ redis: cacheRedis, follower: await connect(cacheUrl, "patient"), settings, log, metrics, embedding, ...(options.lag === undefined ? {} : { lag: options.lag }) });
  closers.push(() => cache.close());
  const recorder = new Recorder({ outbox, cacheRedis, cache, log, metrics });
  closers.push(() => recorder.close());

  const { host, engine, serving, backend } = await openModels({ settings, log, metrics, engineScript: options.engineScript, onLost: (generation, error): void => adapters.lost(generation, error) });
  closers.push(() => host.close());
  const adapters: Adapters = new Adapters({ loras: paths.loras, files: { readLive, readManifest, verifyAdapter }, engine: host, budgetBytes: settings.ADAPTER_MEMORY * 2 ** 20, log, metrics });
  closers.push(() => adapters.close());

  const stage: { ready?: Ready } = {};
  const notReady = () => (host.state.kind !== "ready" ? host.state.reason : stage.ready === undefined ? "the adapters are being loaded" : null);
  /** What /readyz says besides: servers that are given a rest make nobody unready, but somebody should see it. */
  const health = () => ({ engine: host.state.kind, ...(upstream === undefined ? {} : { upstream: upstream.health }), ...(serving === undefined ? {} : { serving: serving.health }) });
  const dependencies = () => {
    if (stage.ready === undefined) throw new EverloraError("engine_unavailable", `The gateway is not ready: ${notReady()}.`);
    return stage.ready;
  };
  const router = Router();
  const chat = chatRoutes(dependencies, settings, apiKey);
  router.use(chat.router, textRoutes(dependencies, settings, apiKey), embeddingRoutes(dependencies, settings, apiKey), modelRoutes(dependencies, settings), loraRoutes(dependencies), compareRoutes(dependencies, settings), cacheRoutes(dependencies, settings, apiKey), feedbackRoutes(dependencies, apiKey));
  const http = { apiKey, metrics, log, maxBodyBytes: settings.MAX_BODY_BYTES };
  const app = createApp({ ...http, router, notReady, health });
  const listening = await listen(withDirectRoutes(app, { ...http, routes: [chat.direct] }), settings.HOST, settings.GATEWAY_PORT, "GATEWAY_PORT");
  closers.push(() => listening.close());
  options.onListening?.(listening.url);

  const [{ device, reason, model }] = await Promise.all([host.start(), cache.start()]);
  log.info({ device, reason, model: model.name, parameters: model.parameters, contextLength: model.contextLength }, "engine is ready");
  // The bell's position is taken before the files are read: a change between the two rings twice, never not at all.
  const bellFrom = await newestId(outbox, "adapters");
  await adapters.start();
  const bell = follow(adapterBell, "adapters", bellFrom, (event) => adapters.refresh(event.domain, event), log);
  closers.push(() => bell.close());
  stage.ready = {
    outbox,
    engine,
    backend: backend(model),
    model,
    adapters,
    byRequest: new AdaptersByRequest({ loras: paths.loras, adapters, domains: domainNames, taken: new Set([model.name, ...(upstream === undefined ? [] : [upstream.model])]), redis: outbox }),
    settings,
    cache,
    recorder,
    upstream,
    domains: domainNames,
    classify: (text) => classify(text, domains).domain,
    log,
    metrics,
    since: Date.now(),
  };
  return { url: listening.url, details: { compute: `${device}: ${reason}`, model: `${model.name}, ${model.parameters} parameters` } };
}
