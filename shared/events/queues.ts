/**
 * The BullMQ queue of training jobs: name, options, and how a job (jobs.ts) is asked for. Producers (collector, control) and the consumer
 * (trainer) all come here. Jobs carry names and numbers only, never what was said: job data lies in Redis in clear.
 */
import { Queue, type JobsOptions } from "bullmq";
import type { Redis } from "ioredis";
import { newRunId, type FineTuneJob } from "./jobs.ts";

export { fineTuneJobSchema, newRunId, trainingOverridesSchema, type FineTuneJob, type TrainingOverrides } from "./jobs.ts";

export const fineTuneQueue = "fine-tune";

const jobOptions: JobsOptions = {
  attempts: 3,
  backoff: { type: "exponential", delay: 5_000, jitter: 0.5 },
  removeOnComplete: { count: 1_000 },
  removeOnFail: { count: 5_000 },
};

export type FineTuneQueue = Queue<FineTuneJob>;

/** @param connection of the failFast profile: with Redis away, adding must fail at once and not hang */
export function openFineTuneQueue(connection: Redis): FineTuneQueue {
  return new Queue<FineTuneJob>(fineTuneQueue, { connection, defaultJobOptions: jobOptions });
}

export type Enqueued = { added: true; runId: string } | { added: false; runId: string };

/** Adds a job unless one for the domain is waiting or running (BullMQ deduplication by domain); then names that one. */
export async function enqueueFineTune(queue: FineTuneQueue, request: Pick<FineTuneJob, "domain" | "reason"> & Partial<Pick<FineTuneJob, "force" | "overrides" | "reproduces">>): Promise<Enqueued> {
  const runId = newRunId();
  const data: FineTuneJob = { runId, domain: request.domain, reason: request.reason, force: request.force ?? false, overrides: request.overrides ?? {}, requestedAt: Date.now(), ...(request.reproduces === undefined ? {} : { reproduces: request.reproduces }) };
  const job = await queue.add(request.domain, data, { jobId: runId, deduplication: { id: request.domain } });
  // With a deduplicated add BullMQ hands back the id of the job that is already there.
  return { added: job.id === runId, runId: job.id ?? runId };
}
