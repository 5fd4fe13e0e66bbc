/**
 * runs/<run id>/: run.json (this record, rewritten atomically), dataset.jsonl (the rows that it was trained and tested on), metrics.jsonl (one line a
 * step of the last attempt) and log.jsonl (all attempts). A run's folder is written by the trainer; control reads it, and writes it in one
 * case: a run that is cancelled before a trainer took it. How the folder is read and written: store.ts.
 */
import { z } from "zod";
import { trainingValues } from "../config/training.ts";
import { fineTuneJobSchema, trainingOverridesSchema } from "../events/jobs.ts";
import { domainNameSchema, generationSchema } from "../events/streams.ts";

export const runFile = "run.json";
export const datasetFile = "dataset.jsonl";
export const metricsFile = "metrics.jsonl";
export const logFile = "log.jsonl";
export const checkpointFile = "checkpoint.safetensors";

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

export const logLineSchema = z.object({ at: z.int(), level: z.enum(["info", "warn", "error"]), attempt: z.int(), message: z.string() });
export type LogLine = z.infer<typeof logLineSchema>;

export const gateSchema = z.object({
  decision: z.enum(["publish", "reject"]),
  /** One sentence a rule: what was compared with what, and the outcome. */
  reasons: z.array(z.string()),
  heldOut: z.object({ base: z.number(), live: z.number().nullable(), adapter: z.number(), rows: z.int(), tokens: z.int() }),
  general: z.object({ base: z.number(), adapter: z.number(), rows: z.int(), tokens: z.int(), tolerance: z.number() }),
});
export type Gate = z.infer<typeof gateSchema>;

export const runIdSchema = fineTuneJobSchema.shape.runId;

/** `queued`: no trainer is at work on it; it was not started yet, was handed back at a shutdown, or waits for its next attempt (then `error` says why). */
export const runStateSchema = z.enum(["queued", "running", "published", "rejected", "failed", "cancelled"]);
export type RunState = z.infer<typeof runStateSchema>;

/** A run in one of these states never changes again. */
export const finalStates: readonly RunState[] = ["published", "rejected", "failed", "cancelled"];

const values = trainingValues;
/** Records of before a setting was there have what was done then. */
export const runSettingsSchema = z.object({
  rank: values.rank,
  alpha: values.alpha,
  rankStabilised: values.rslora.default(false),
  dropout: values.dropout.default(0),
  targets: values.targets.default(["all-linear"]),
  epochs: values.epochs,
  learningRate: values.learning_rate,
  schedule: values.schedule.default("cosine"),
  warmUp: values.warmup.default(0.05),
  weightDecay: values.weight_decay.default(0),
  clipNorm: values.clip_norm.default(1),
  sequenceLength: values.sequence_length,
  batchSize: values.batch_size,
  accumulation: values.accumulation.default(1),
  evaluation: values.evaluation.default("end"),
  patience: values.patience.default(0),
  start: values.start.default("base"),
  replay: values.replay.default(0),
  gradientCheckpointing: values.gradient_checkpointing.default("off"),
  quantization: values.quantization.default("none"),
  seed: values.seed,
});
export type RunSettings = z.infer<typeof runSettingsSchema>;

export const runDatasetSchema = z.object({
  rows: z.int(),
  train: z.int(),
  heldOut: z.int(),
  /** Of dataset.jsonl. */
  sha256: z.string(),
  /** The version under training_data/<domain>/ that it was copied from. */
  snapshot: z.string().optional(),
  rowIds: z.array(z.string()),
  /** Rows that were left out, by reason. */
  dropped: z.record(z.string(), z.int()),
  /** Only rows whose conversation is of this time (milliseconds since 1970) were taken. */
  from: z.int(),
  to: z.int(),
  /** Share of the training rows' tokens that carry loss; null until the trainer has counted. */
  trainedTokenShare: z.number().nullable(),
});
export type RunDataset = z.infer<typeof runDatasetSchema>;

const environmentSchema = z.object({
  node: z.string(),
  platform: z.string(),
  cpu: z.string(),
  cores: z.int(),
  memoryBytes: z.int(),
  everlora: z.string(),
  /** Of the checkout that ran; null when it is not a git checkout. */
  commit: z.string().nullable(),
  /** null until the trainer has told. */
  device: z.string().nullable(),
  onnxruntime: z.string().nullable(),
});
export type Environment = z.infer<typeof environmentSchema>;

/** How a training went, as far as its settings don't say. */
export const trainingSchema = z.object({
  /** Passes over the rows: what `auto` became. */
  epochs: z.int(),
  /** Steps that were done, in all attempts together. */
  steps: z.int(),
  /** The step whose weights are the adapter. */
  bestStep: z.int(),
  stoppedEarly: z.boolean(),
  /** Held-out losses on the way, nats a token. */
  evaluations: z.array(z.object({ step: z.int(), epoch: z.number(), loss: z.number() })),
  /** Share of the packed positions that carried a token. */
  packing: z.number(),
  /** Whether blocks were computed twice to save memory. */
  recomputed: z.boolean(),
  /** The step of the checkpoint that the last attempt went on from; null = it began at step 1. */
  resumedAt: z.int().nullable(),
  /** The live adapter that it went on from, how many rows were new to it, and how many were repeated; null = a new adapter. */
  continued: z.object({ generation: generationSchema, fresh: z.int(), replayed: z.int() }).nullable(),
});

/** Loss of the new adapter on the general set less that of the base and of the live adapter, nats a token: above 0 something was forgotten. */
export const forgettingSchema = z.object({ base: z.number(), live: z.number().nullable() });

/** What came of doing a run again: `same` = the same bits. */
const reproductionSchema = z.object({ expected: generationSchema.nullable(), same: z.boolean() });

export const runSchema = z.object({
  version: z.literal(1),
  id: runIdSchema,
  domain: domainNameSchema,
  state: runStateSchema,
  reason: z.string(),
  /** How often it was started; what an earlier attempt wrote is fenced off by this number. */
  attempt: z.int(),
  /** How many of these starts ended because the trainer was shut down: they don't count as failures. */
  handedBack: z.int(),
  requestedAt: z.int(),
  /** Of the present attempt; null before the first. */
  startedAt: z.int().nullable(),
  finishedAt: z.int().nullable(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string() }).nullable(),
  settings: runSettingsSchema,
  overrides: trainingOverridesSchema,
  force: z.boolean(),
  dataset: runDatasetSchema.nullable(),
  base: z.object({ name: z.string(), sha256: z.string() }).nullable(),
  environment: environmentSchema.nullable(),
  progress: z.object({ step: z.int(), steps: z.int(), loss: z.number().nullable() }).nullable(),
  losses: z.object({ first: z.number(), last: z.number() }).nullable(),
  training: trainingSchema.nullable().default(null),
  /** The generation that the trained adapter's content makes it, published or not. */
  produced: generationSchema.nullable().default(null),
  /** The run whose record this one does again; it never goes live. */
  reproduces: runIdSchema.nullable().default(null),
  reproduction: reproductionSchema.nullable().default(null),
  forgetting: forgettingSchema.nullable().default(null),
  /** The generation that was live for the domain when the attempt began; null = the base. `gate.heldOut.live` tells whether it was compared with. */
  liveBefore: generationSchema.nullable(),
  gate: gateSchema.nullable(),
  generation: generationSchema.nullable(),
  publishedAt: z.int().nullable(),
});
export type Run = z.infer<typeof runSchema>;
