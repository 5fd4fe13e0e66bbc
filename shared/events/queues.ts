/**
 * The BullMQ queue of training jobs: name, payload, options, and how a job is asked for. Producers (collector, control) and the consumer
 * (trainer) all come here. Jobs carry names and numbers only, never what was said: job data lies in Redis in clear.
 */
import { randomBytes } from "node:crypto";
import { Queue, type JobsOptions } from "bullmq";
import type { Redis } from "ioredis";
import { z } from "zod";
import { trainingValues } from "../config/training.ts";
import { domainNameSchema } from "./streams.ts";

export const fineTuneQueue = "fine-tune";

/** What a trigger may change for one run; the same names as the settings, in the shape that the HTTP body has. */
export const trainingOverridesSchema = z.strictObject(trainingValues).partial();
export type TrainingOverrides = z.infer<typeof trainingOverridesSchema>;

export const fineTuneJobSchema = z.object({
  runId: z.string().regex(/^run-[a-z0-9-]{8,60}$/),
  domain: domainNameSchema,
  reason: z.enum(["threshold", "schedule", "manual"]),
  /** Train although there are fewer rows than the threshold. */
  force: z.boolean(),
  overrides: trainingOverridesSchema,
  requestedAt: z.number().int(),
  /** The run that is done again, from its record; its result is compared with that one's, and goes nowhere. */
  reproduces: z.string().regex(/^run-[a-z0-9-]{8,60}$/).optional(),
});
export type FineTuneJob = z.infer<typeof fineTuneJobSchema>;

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

/** Sortable by time, unique, and safe as a folder name: run-<base 36 milliseconds>-<6 hex>. */
export function newRunId(now = Date.now()): string {
  return `run-${now.toString(36)}-${randomBytes(3).toString("hex")}`;
}
