/** How many jobs are in which state: for the status routes and for the gauge. */
import { messageOf } from "../../shared/errors/errors.ts";
import type { ControlContext } from "./context.ts";

const states = ["waiting", "active", "delayed", "completed", "failed"] as const;
const gaugeEveryMs = 5_000;

export function queueCounts(context: ControlContext): Promise<Record<string, number>> {
  return context.queue.getJobCounts(...states);
}

/** Keeps the gauge `jobs` fresh until the returned function is called. With Redis away it keeps its last values. */
export function keepQueueGauge(context: ControlContext): () => void {
  const refresh = () => {
    queueCounts(context).then(
      (counts) => {
        for (const state of states) context.metrics.jobs.set({ state }, counts[state] ?? 0);
      },
      (error: unknown) => context.log.debug({ reason: messageOf(error) }, "cannot count the queue's jobs"),
    );
  };
  refresh();
  const timer = setInterval(refresh, gaugeEveryMs);
  return () => clearInterval(timer);
}
