/** The trainer service: opens what it needs, in order, and closes it in reverse. */
import { Router } from "express";
import type { RunningService } from "../../shared/config/lifecycle.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import { settingsTable, type Settings } from "../../shared/config/settings.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { createApp, listen } from "../../shared/http/app.ts";
import { announcedApiKey } from "../../shared/http/auth.ts";
import type { Logger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { openRedis, redisUrlOf, requireNoEviction } from "../../shared/redis/redis.ts";
import { defaultOptions, type TrainerContext, type TrainerOptions } from "./context.ts";
import { keepReconciled } from "./reconcile.ts";
import { startWorker } from "./worker.ts";

/**
 * Works on the queue until it is closed. With ENABLE_FINE_TUNING=false it only answers for its health.
 * @throws EverloraError invalid_settings, redis_unavailable, redis_misconfigured, port_in_use
 */
export async function startTrainer(settings: Settings, log: Logger, options: Partial<TrainerOptions> = {}): Promise<RunningService> {
  const paths = pathsOf(settings);
  const domains = loadDomains(settings.DATA_DIR);
  const metrics = createMetrics("trainer");
  const redis = await openRedis(redisUrlOf(settings), "patient", log);
  let stopReconciling = () => {};
  try {
    await requireNoEviction(redis, log);
    const context: TrainerContext = { settings, paths, domains, redis, metrics, log, options: { ...defaultOptions, ...options } };
    stopReconciling = await keepReconciled(context);
    const apiKey = await announcedApiKey(settings.EVERLORA_API_KEY, paths.apiKeyFile);
    const notReady = () => (redis.status === "ready" ? null : "no connection to Redis");
    const app = createApp({ router: Router(), apiKey, metrics, log, maxBodyBytes: settings.MAX_BODY_BYTES, notReady });
    const http = await listen(app, settings.HOST, settings.TRAINER_PORT, "TRAINER_PORT");
    const worker = settings.ENABLE_FINE_TUNING ? startWorker(context) : null;
    if (worker === null) log.info(`no run will be started: ENABLE_FINE_TUNING=false (${settingsTable.ENABLE_FINE_TUNING.help})`);
    return {
      url: http.url,
      close: async () => {
        stopReconciling();
        await worker?.close();
        await http.close();
        redis.disconnect();
      },
    };
  } catch (error) {
    stopReconciling();
    redis.disconnect();
    throw error;
  }
}
