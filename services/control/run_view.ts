/** Runs as clients see them: those that have a record, and those that only wait in the queue yet. */
import type { Job } from "bullmq";
import { EverloraError } from "../../shared/errors/errors.ts";
import { fineTuneJobSchema, type FineTuneJob } from "../../shared/events/queues.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import type { Run, RunDataset } from "../../shared/runs/run.ts";
import { findRun, listRuns, type RunFilter, type RunPage } from "../../shared/runs/store.ts";
import type { ControlContext } from "./context.ts";

/** A run in a list: without the ids of its rows, of which there may be very many. */
export type RunSummary = Omit<Run, "dataset"> & { readonly dataset: Omit<RunDataset, "rowIds"> | null };

export function summaryOf(run: Run): RunSummary {
  if (run.dataset === null) return { ...run, dataset: null };
  const { rowIds: _rowIds, ...dataset } = run.dataset;
  return { ...run, dataset };
}

/** @throws EverloraError run_not_found, run_corrupted */
export async function requireRun(context: ControlContext, id: string): Promise<Run> {
  const run = await findRun(context.paths.runs, id);
  if (run !== null) return run;
  const job = await context.queue.getJob(id);
  const waiting = job === undefined ? null : waitingRun(context, job);
  if (waiting === null) throw new EverloraError("run_not_found", `There is no run ${id}.`);
  return waiting;
}

/** The record that a job's run will begin with; null when the job is none of ours. */
function waitingRun(context: ControlContext, job: Job<FineTuneJob>): Run | null {
  const parsed = fineTuneJobSchema.safeParse(job.data);
  if (!parsed.success) return null;
  const domain = context.domains.find((candidate) => candidate.name === parsed.data.domain);
  return queuedRun(parsed.data, runSettings(context.settings, domain?.overrides ?? {}, parsed.data.overrides));
}

/** As `listRuns`, with the runs that only wait in the queue in their place. */
export async function pageOfRuns(context: ControlContext, page: { readonly limit: number; readonly after?: string | undefined }, filter: RunFilter): Promise<RunPage> {
  // One more than asked for, so that `more` stays right after the merge.
  const recorded = await listRuns(context.paths.runs, { ...page, limit: page.limit + 1 }, filter);
  const waiting: Run[] = [];
  for (const job of await context.queue.getJobs(["waiting", "delayed", "prioritized", "active"], 0, 999)) {
    const run = waitingRun(context, job);
    if (run === null || (page.after !== undefined && run.id >= page.after)) continue;
    if (filter.domain !== undefined && run.domain !== filter.domain) continue;
    if (filter.states !== undefined && !filter.states.includes(run.state)) continue;
    if (await isRecorded(context, run.id)) continue;
    waiting.push(run);
  }
  const merged = [...recorded.runs, ...waiting].sort((a, b) => (a.id < b.id ? 1 : -1));
  return { runs: merged.slice(0, page.limit), damaged: recorded.damaged, more: merged.length > page.limit || recorded.more };
}

async function isRecorded(context: ControlContext, id: string): Promise<boolean> {
  return findRun(context.paths.runs, id).then(
    (run) => run !== null,
    () => true, // damaged: listed as such
  );
}
