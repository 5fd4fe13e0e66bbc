/**
 * What the trainer and its run child say to each other over the fork's channel: one JSON message each, parsed on both sides. Only numbers, names and
 * sentences; rows and weights go through files.
 */
import { z } from "zod";
import { computeDevices } from "../../../shared/config/devices.ts";
import { domainNameSchema, generationSchema } from "../../../shared/events/streams.ts";
import { forgettingSchema, gateSchema, runDatasetSchema, runIdSchema, runSettingsSchema, stepMetricSchema, trainingSchema } from "../../../shared/runs/run.ts";

/** All that a run depends on: the child reads no settings of its own. Paths are absolute. */
const startSchema = z.object({
  type: z.literal("start"),
  runId: runIdSchema,
  domain: domainNameSchema,
  settings: runSettingsSchema,
  /** Rows that the domain needs; 1 under `force`. */
  minExamples: z.int(),
  /** Absent: as curate.ts has it. */
  caps: z.object({ caller: z.number(), template: z.number(), source: z.number() }).optional(),
  window: z.object({ from: z.int(), to: z.int() }),
  /** Of an earlier attempt: the same rows are taken again. */
  dataset: runDatasetSchema.nullable(),
  generalTolerance: z.number(),
  threads: z.int(),
  device: z.enum(computeDevices),
  paths: z.object({ runs: z.string(), loras: z.string(), trainingData: z.string(), baseModel: z.string(), generalSet: z.string(), compiled: z.string() }),
  /** The adapter to beat. */
  live: z.object({ generation: generationSchema, folder: z.string(), baseSha256: z.string(), /** The run that it came from, which knows its rows. */ runId: z.string() }).nullable(),
  checkpoints: z.object({ seconds: z.number(), steps: z.int() }),
  /** The run is done again: these rows and no others, and nothing is published. */
  reproduces: runIdSchema.nullable(),
  /** An earlier attempt ended for want of memory. */
  ranOutOfMemory: z.boolean(),
  /** URL of the module that exports the table `trainers`. */
  trainers: z.string(),
  /** Least free space, in bytes, that must be left on the disk besides what the run itself will write. */
  spareBytes: z.number(),
});
export type Start = z.infer<typeof startSchema>;

/** Parent to child. `publish` answers `may-publish`; a parent that must refuse ends the child instead. */
export const orderSchema = z.discriminatedUnion("type", [startSchema, z.object({ type: z.literal("publish") })]);
export type Order = z.infer<typeof orderSchema>;

const errorSchema = z.object({ code: z.string(), message: z.string(), hint: z.string(), retryable: z.boolean(), /** For the log only. */ stack: z.string().optional() });

/** Child to parent. `rejected`, `stored` and `failed` are last words. */
export const reportSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("log"), level: z.enum(["info", "warn"]), message: z.string() }),
  z.object({ type: z.literal("dataset"), dataset: runDatasetSchema }),
  z.object({ type: z.literal("step"), metric: stepMetricSchema, steps: z.int() }),
  z.object({
    type: z.literal("trained"),
    base: z.object({ name: z.string(), sha256: z.string() }),
    device: z.string(),
    onnxruntime: z.string(),
    trainedTokenShare: z.number(),
    losses: z.object({ first: z.number(), last: z.number() }),
    training: trainingSchema,
    produced: generationSchema,
    forgetting: forgettingSchema,
    gate: gateSchema,
  }),
  z.object({ type: z.literal("may-publish") }),
  z.object({ type: z.literal("rejected") }),
  z.object({ type: z.literal("stored"), generation: generationSchema }),
  z.object({ type: z.literal("failed"), error: errorSchema }),
]);
export type Report = z.infer<typeof reportSchema>;
export type RunError = z.infer<typeof errorSchema>;
