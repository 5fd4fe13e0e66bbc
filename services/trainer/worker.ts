/**
 * The trainer's hand in the queue: one BullMQ worker, one job at a time. Renewing the lock is all that it does while a run is at work; the work is in a
 * child process, so that this event loop stays free.
 */
import { Worker, type Job } from "bullmq";
import { EverloraError, messageOf } from "../../shared/errors/errors.ts";
import { fineTuneQueue, type FineTuneJob } from "../../shared/events/queues.ts";
import type { TrainerContext } from "./context.ts";
import { runJob, type JobResult } from "./job.ts";
import { giveUpRun } from "./reconcile.ts";
import { Stop, type StopReason } from "./stop.ts";

export interface JobWorker {
  /** Claims no more, stops the run that is at work and puts its job back into the queue. */
  close(): Promise<void>;
}

/** Stalls (trainer killed, machine gone) that a job may go through before BullMQ itself fails it. Our own limit (begin.ts) comes first. */
const mostStalls = 3;

export function startWorker(context: TrainerContext): JobWorker {
  const { log, metrics, options } = context;
  const atWork = new Map<string, Stop>();
  const stop = (jobId: string, reason: StopReason) => atWork.get(jobId)?.request(reason);
  let closing = false;

  const work = async (job: Job<FineTuneJob, JobResult>, token?: string): Promise<JobResult> => {
    const id = job.id;
    if (id === undefined || token === undefined) throw new EverloraError("internal_error", "BullMQ handed out a job without id or token.");
    const stopping = new Stop();
    atWork.set(id, stopping);
    // A job may be handed out in the moment in which the worker begins to close.
    if (closing) stopping.request("shutdown");
    try {
      return await runJob(context, job, token, stopping);
    } finally {
      atWork.delete(id);
    }
  };
  const worker = new Worker<FineTuneJob, JobResult>(fineTuneQueue, work, {
    connection: context.redis,
    concurrency: 1,
    lockDuration: options.lockMs,
    stalledInterval: options.stalledMs,
    maxStalledCount: mostStalls,
  });
  // An unheard `error` would end the process; BullMQ goes on by itself after each.
  worker.on("error", (error) => log.error({ reason: error.message }, "queue error"));
  worker.on("stalled", (jobId) => {
    metrics.jobsStalled.inc();
    log.warn({ runId: jobId }, "a trainer vanished; its job goes back into the queue");
  });
  worker.on("lockRenewalFailed", (jobIds) => {
    for (const jobId of jobIds) stop(jobId, "lost-lock");
  });
  worker.on("failed", (job, error) => {
    if (job === undefined) return;
    giveUpRun(context, job, error.message).catch((reason: unknown) => log.error({ runId: job.id, reason: messageOf(reason) }, "cannot record that the run failed"));
  });
  return {
    close: async () => {
      closing = true;
      const closed = worker.close();
      for (const jobId of atWork.keys()) stop(jobId, "shutdown");
      await closed;
    },
  };
}
