/** What a training job is: its payload and its id. Apart from the queue (queues.ts), whose client takes a third of a second to load. */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { trainingValues } from "../config/training.ts";
import { domainNameSchema } from "./streams.ts";

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

/** Sortable by time, unique, and safe as a folder name: run-<base 36 milliseconds>-<6 hex>. */
export function newRunId(now = Date.now()): string {
  return `run-${now.toString(36)}-${randomBytes(3).toString("hex")}`;
}
