/** The record of a run at its beginning: what was asked for, with every setting worked out. */
import type { Settings } from "../config/settings.ts";
import type { FineTuneJob, TrainingOverrides } from "../events/queues.ts";
import type { Run, RunSettings } from "./run.ts";

type TrainingSettings = Pick<Settings, "LORA_RANK" | "LORA_ALPHA" | "TRAINING_EPOCHS" | "LEARNING_RATE" | "TRAINING_SEQUENCE_LENGTH" | "TRAINING_BATCH_SIZE" | "TRAINING_SEED">;

/** The settings of a run. What is named last wins: the environment, the domain, the trigger. */
export function runSettings(settings: TrainingSettings, ...overrides: readonly TrainingOverrides[]): RunSettings {
  const chosen: TrainingOverrides = {};
  for (const layer of overrides) Object.assign(chosen, layer);
  return {
    rank: chosen.rank ?? settings.LORA_RANK,
    alpha: chosen.alpha ?? settings.LORA_ALPHA,
    epochs: chosen.epochs ?? settings.TRAINING_EPOCHS,
    learningRate: chosen.learning_rate ?? settings.LEARNING_RATE,
    sequenceLength: settings.TRAINING_SEQUENCE_LENGTH,
    batchSize: settings.TRAINING_BATCH_SIZE,
    seed: chosen.seed ?? settings.TRAINING_SEED,
  };
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
    liveBefore: null,
    gate: null,
    generation: null,
    publishedAt: null,
  };
}
