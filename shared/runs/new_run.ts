/** The record of a run at its beginning: what was asked for, with every setting worked out. */
import type { Settings } from "../config/settings.ts";
import type { FineTuneJob, TrainingOverrides } from "../events/jobs.ts";
import { runSettingsSchema, type Run, type RunSettings } from "./run.ts";

/** Every value of a run, and the setting that it has when neither the domain nor the trigger says otherwise. */
const sources = {
  rank: ["rank", "LORA_RANK"],
  alpha: ["alpha", "LORA_ALPHA"],
  rankStabilised: ["rslora", "LORA_RSLORA"],
  dropout: ["dropout", "LORA_DROPOUT"],
  targets: ["targets", "LORA_TARGETS"],
  epochs: ["epochs", "TRAINING_EPOCHS"],
  learningRate: ["learning_rate", "LEARNING_RATE"],
  schedule: ["schedule", "TRAINING_SCHEDULE"],
  warmUp: ["warmup", "TRAINING_WARMUP"],
  weightDecay: ["weight_decay", "TRAINING_WEIGHT_DECAY"],
  clipNorm: ["clip_norm", "TRAINING_CLIP_NORM"],
  sequenceLength: ["sequence_length", "TRAINING_SEQUENCE_LENGTH"],
  batchSize: ["batch_size", "TRAINING_BATCH_SIZE"],
  accumulation: ["accumulation", "TRAINING_ACCUMULATION"],
  evaluation: ["evaluation", "TRAINING_EVALUATION"],
  patience: ["patience", "TRAINING_PATIENCE"],
  start: ["start", "TRAINING_START"],
  replay: ["replay", "TRAINING_REPLAY"],
  gradientCheckpointing: ["gradient_checkpointing", "GRADIENT_CHECKPOINTING"],
  quantization: ["quantization", "QUANTIZATION"],
  seed: ["seed", "TRAINING_SEED"],
} as const satisfies Record<keyof RunSettings, readonly [keyof TrainingOverrides, keyof Settings]>;

type TrainingSettings = Pick<Settings, (typeof sources)[keyof typeof sources][1]>;

/** The settings of a run. What is named last wins: the environment, the domain, the trigger. */
export function runSettings(settings: TrainingSettings, ...overrides: readonly TrainingOverrides[]): RunSettings {
  const chosen: TrainingOverrides = {};
  for (const layer of overrides) Object.assign(chosen, layer);
  return runSettingsSchema.parse(Object.fromEntries(Object.entries(sources).map(([name, [override, setting]]) => [name, chosen[override] ?? settings[setting]])));
}

/** A run that waits in the queue and that no trainer has taken yet. */
export function queuedRun(job: FineTuneJob, settings: RunSettings): Run {
  return {
    version: 1,
    id: job.runId,
    domain: job.domain,
    state: "queued",
    reason: job.reason,
    attempt: 0,
    handedBack: 0,
    requestedAt: job.requestedAt,
    startedAt: null,
    finishedAt: null,
    error: null,
    settings,
    overrides: job.overrides,
    force: job.force,
    dataset: null,
    base: null,
    environment: null,
    progress: null,
    losses: null,
    training: null,
    produced: null,
    reproduces: job.reproduces ?? null,
    reproduction: null,
    forgetting: null,
    liveBefore: null,
    gate: null,
    generation: null,
    publishedAt: null,
  };
}
