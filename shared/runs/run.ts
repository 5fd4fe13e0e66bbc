/**
 * runs/<run id>/: run.json (this record, rewritten atomically), metrics.jsonl (one line a step) and log.jsonl. A run's folder is written by the
 * trainer alone; control reads it.
 */
import { z } from "zod";
import { trainingOverridesSchema } from "../events/queues.ts";
import { domainNameSchema, generationSchema } from "../events/streams.ts";

export const runFile = "run.json";
export const metricsFile = "metrics.jsonl";
export const logFile = "log.jsonl";

export const stepMetricSchema = z.object({
  step: z.int(),
  epoch: z.number(),
  loss: z.number(),
  learningRate: z.number(),
  gradientNorm: z.number(),
  tokens: z.int(),
  /** Tokens that carry loss (the assistant's). */
  trainedTokens: z.int(),
  seconds: z.number(),
  at: z.int(),
});
export type StepMetric = z.infer<typeof stepMetricSchema>;

export const gateSchema = z.object({
  decision: z.enum(["publish", "reject"]),
  /** One sentence a rule: what was compared with what, and the outcome. */
  reasons: z.array(z.string()),
  heldOut: z.object({ base: z.number(), live: z.number().nullable(), adapter: z.number(), rows: z.int(), tokens: z.int() }),
  general: z.object({ base: z.number(), adapter: z.number(), rows: z.int(), tokens: z.int(), tolerance: z.number() }),
});
export type Gate = z.infer<typeof gateSchema>;

export const runSchema = z.object({
  version: z.literal(1),
  id: z.string(),
  domain: domainNameSchema,
  state: z.enum(["running", "published", "rejected", "failed", "cancelled"]),
  reason: z.string(),
  attempt: z.int(),
  requestedAt: z.int(),
  startedAt: z.int(),
  finishedAt: z.int().nullable(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string() }).nullable(),
  settings: z.object({ rank: z.int(), alpha: z.number(), epochs: z.int(), learningRate: z.number(), sequenceLength: z.int(), batchSize: z.int(), seed: z.int() }),
  overrides: trainingOverridesSchema,
  dataset: z
    .object({ rows: z.int(), train: z.int(), heldOut: z.int(), sha256: z.string(), rowIds: z.array(z.string()), dropped: z.record(z.string(), z.int()), trainedTokenShare: z.number().nullable() })
    .nullable(),
  base: z.object({ name: z.string(), sha256: z.string() }).nullable(),
  environment: z.object({ node: z.string(), platform: z.string(), everlora: z.string(), device: z.string(), onnxruntime: z.string() }).nullable(),
  progress: z.object({ step: z.int(), steps: z.int(), loss: z.number().nullable() }).nullable(),
  losses: z.object({ first: z.number(), last: z.number() }).nullable(),
  gate: gateSchema.nullable(),
  generation: generationSchema.nullable(),
  publishedAt: z.int().nullable(),
});
export type Run = z.infer<typeof runSchema>;
