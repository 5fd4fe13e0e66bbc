/** The loop at a glance, for GET /fine-tune/status: queue, and for each domain its rows, live adapter, last run and job. */
import { EverloraError } from "../../shared/errors/errors.ts";
import { readLive } from "../../shared/peft/registry.ts";
import { lastRuns } from "../../shared/runs/store.ts";
import type { ControlContext } from "./context.ts";
import { supplyOf } from "./enough.ts";
import { queueCounts } from "./queue_counts.ts";
import type { Schedule } from "./schedule.ts";

export async function statusOf(context: ControlContext, schedule: Schedule): Promise<unknown> {
  const domains = [];
  const runs = await lastRuns(context.paths.runs, context.domains.map((domain) => domain.name));
  for (const domain of context.domains) {
    const { enoughByForce: _, ...supply } = await supplyOf(context, domain);
    const last = runs.get(domain.name);
    domains.push({
      ...supply,
      live: await liveOf(context, domain.name),
      lastRun: last === undefined ? null : { id: last.id, state: last.state, attempt: last.attempt, progress: last.progress, losses: last.losses, gate: last.gate, generation: last.generation, startedAt: last.startedAt, finishedAt: last.finishedAt, error: last.error },
      job: await jobOf(context, domain.name),
    });
  }
  return { enabled: context.settings.ENABLE_FINE_TUNING, queue: await queueCounts(context), domains, schedule: await schedule.describe() };
}

/** The pointer; a damaged one is shown as such, and doesn't hide the rest of the status. */
async function liveOf(context: ControlContext, domain: string): Promise<unknown> {
  try {
    const live = await readLive(context.paths.loras, domain);
    return live === null ? null : { generation: live.generation, previous: live.previous, since: live.since, reason: live.reason };
  } catch (error) {
    if (error instanceof EverloraError) return { generation: null, damaged: error.message };
    throw error;
  }
}

/** The job that a new one for the domain would meet. */
async function jobOf(context: ControlContext, domain: string): Promise<{ runId: string; state: string } | null> {
  const id = await context.queue.getDeduplicationJobId(domain);
  const job = id === null ? undefined : await context.queue.getJob(id);
  return id === null || job === undefined ? null : { runId: id, state: await job.getState() };
}
