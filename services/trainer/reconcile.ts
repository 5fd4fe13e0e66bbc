/**
 * Puts the records in order where the queue knows better: a run whose job failed without our doing (BullMQ's own limits), or whose job is gone (Redis
 * lost its data), would otherwise be called running for ever.
 */
import type { Job } from "bullmq";
import { EverloraError, messageOf } from "../../shared/errors/errors.ts";
import { openFineTuneQueue, type FineTuneJob } from "../../shared/events/queues.ts";
import { finalStates, type Run } from "../../shared/runs/run.ts";
import { findRun, listRuns, replaceRun } from "../../shared/runs/store.ts";
import type { TrainerContext } from "./context.ts";
import { countEnd } from "./end.ts";

type Tools = Pick<TrainerContext, "paths" | "metrics" | "log">;

/** Called for every failed attempt; does something only when the job failed for good and the record doesn't say so. */
export async function giveUpRun(tools: Tools, job: Job<FineTuneJob>, reason: string): Promise<void> {
  const run = await findRun(tools.paths.runs, job.data.runId);
  if (run === null || finalStates.includes(run.state) || (await job.getState()) !== "failed") return;
  await recordFailure(tools, run, `The queue gave the run up: ${reason}.`);
}

/** Ends the records of runs that no job will ever carry on. */
async function reconcileRuns(context: TrainerContext): Promise<void> {
  const { runs } = await listRuns(context.paths.runs, { limit: Infinity }, { states: ["queued", "running"] });
  if (runs.length === 0) return;
  const queue = openFineTuneQueue(context.redis);
  queue.on("error", (error) => context.log.error({ reason: error.message }, "queue error"));
  try {
    for (const run of runs) {
      const job = await queue.getJob(run.id);
      const state = job === undefined ? "gone" : await job.getState();
      if (state !== "gone" && state !== "failed" && state !== "completed" && state !== "unknown") continue; // it will be handed out again
      await recordFailure(context, run, state === "failed" && job !== undefined ? `The queue gave the run up: ${job.failedReason}.` : "The run's job is no longer in the queue.");
    }
  } finally {
    await queue.close();
  }
}

/** Now, and again every `reconcileMs` until the returned function is called. @throws what Redis or the disk says the first time */
export async function keepReconciled(context: TrainerContext): Promise<() => void> {
  await reconcileRuns(context);
  let working = false;
  const timer = setInterval(() => {
    if (working) return;
    working = true;
    reconcileRuns(context)
      .catch((error: unknown) => context.log.error({ reason: messageOf(error) }, "cannot compare the runs' records with the queue"))
      .finally(() => {
        working = false;
      });
  }, context.options.reconcileMs);
  return () => clearInterval(timer);
}

async function recordFailure(tools: Tools, run: Run, message: string): Promise<void> {
  const ended: Run = { ...run, state: "failed", finishedAt: Date.now(), error: { code: "training_failed", message, hint: "Start it again: POST /fine-tune/trigger." } };
  try {
    await replaceRun(tools.paths.runs, ended);
  } catch (error) {
    if (!(error instanceof EverloraError)) throw error;
    tools.log.warn({ runId: run.id, reason: messageOf(error) }, "the run's record was changed by somebody else");
    return;
  }
  countEnd(tools, ended);
}
