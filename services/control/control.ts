/** The control service: opens what it needs, in order, and closes it in reverse. */
import { Router } from "express";
import type { RunningService } from "../../shared/config/lifecycle.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { openFineTuneQueue } from "../../shared/events/queues.ts";
import { createApp, listen } from "../../shared/http/app.ts";
import { announcedApiKey } from "../../shared/http/auth.ts";
import type { Logger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { openRedis, redisUrlOf } from "../../shared/redis/redis.ts";
import { defaultOptions, type ControlContext, type ControlOptions } from "./context.ts";
import { keepQueueGauge } from "./queue_counts.ts";
import { adapterRoutes } from "./routes/adapters.ts";
import { datasetRoutes } from "./routes/datasets.ts";
import { fineTuneRoutes } from "./routes/fine_tune.ts";
import { queueRoutes } from "./routes/queue.ts";
import { runRoutes } from "./routes/runs.ts";
import { Schedule } from "./schedule.ts";

/** @throws EverloraError invalid_settings, redis_unavailable, port_in_use */
export async function startControl(settings: Settings, log: Logger, options: Partial<ControlOptions> = {}): Promise<RunningService> {
  const paths = pathsOf(settings);
  const domains = loadDomains(settings.DATA_DIR);
  const metrics = createMetrics("control");
  const redis = await openRedis(redisUrlOf(settings), "failFast", log);
  const queue = openFineTuneQueue(redis);
  queue.on("error", (error) => log.error({ reason: error.message }, "queue error"));
  const context: ControlContext = { settings, paths, domains, redis, queue, metrics, log, options: { ...defaultOptions, ...options } };
  const schedule = new Schedule(context);
  try {
    const apiKey = await announcedApiKey(settings.EVERLORA_API_KEY, paths.apiKeyFile);
    const router = Router().use(fineTuneRoutes(context, schedule), runRoutes(context), adapterRoutes(context), datasetRoutes(context), queueRoutes(context));
    const notReady = () => (redis.status === "ready" ? null : "no connection to Redis");
    await schedule.start();
    const http = await listen(createApp({ router, apiKey, metrics, log, maxBodyBytes: settings.MAX_BODY_BYTES, notReady }), settings.HOST, settings.CONTROL_PORT, "CONTROL_PORT");
    const stopGauge = keepQueueGauge(context);
    return {
      url: http.url,
      close: async () => {
        stopGauge();
        await schedule.stop();
        await http.close();
        await queue.close();
        redis.disconnect();
      },
    };
  } catch (error) {
    await schedule.stop();
    redis.disconnect();
    throw error;
  }
}
