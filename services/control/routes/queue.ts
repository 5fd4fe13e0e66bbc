/** GET /queue/status. */
import { Router } from "express";
import type { ControlContext } from "../context.ts";
import { queueCounts } from "../queue_counts.ts";
import { route } from "../request.ts";

export function queueRoutes(context: ControlContext): Router {
  const router = Router();
  router.get(
    "/queue/status",
    route(async (_request, response) => {
      const { queue } = context;
      const jobs = await queue.getJobs(["active", "waiting", "delayed"], 0, 99, true);
      response.json({
        name: queue.name,
        counts: await queueCounts(context),
        workers: await queue.getWorkersCount(),
        jobs: await Promise.all(jobs.map(async (job) => ({ runId: job.id, domain: job.name, state: await job.getState(), reason: job.data.reason, requestedAt: job.timestamp, starts: job.attemptsStarted, stalls: job.stalledCounter, progress: job.progress }))),
      });
    }),
  );
  return router;
}
