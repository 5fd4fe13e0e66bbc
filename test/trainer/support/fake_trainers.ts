/**
 * A table of trainers with one that trains nothing, for tests of everything around training. How it behaves stands in the base model's config.json, so
 * that it reaches the run child by the way that a real model takes.
 */
import { existsSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { TrainersTable } from "../../../services/trainer/run/execute.ts";
import type { TrainerInput, TrainerOutput } from "../../../services/trainer/trainers/trainer.ts";
import { sha256 } from "../../../shared/events/conversation.ts";

const behaviourSchema = z.object({
  steps: z.int().default(3),
  /** Nats a token by which the adapter is better than the base (and the live one) on each held-out row. */
  gain: z.number().default(0.5),
  /** Nats a token by which it is worse on the general set. */
  generalHarm: z.number().default(0),
  /** After this step wait until the file `go` is in the base model's folder; the wait ends on a stop, too, unless `deaf`. */
  waitAfterStep: z.int().nullable().default(null),
  /** Don't look at the signal. */
  deaf: z.boolean().default(false),
  /** Kill this process after the step. */
  dieAfterStep: z.int().nullable().default(null),
  /** Throw an error after the step. */
  throwAfterStep: z.int().nullable().default(null),
  /** The text of that error, and what is written to stderr before dying. */
  lastWords: z.string().default("the fake trainer was told to fail"),
  /** Report a loss that is no number at this step. */
  divergeAtStep: z.int().nullable().default(null),
});
export type Behaviour = z.input<typeof behaviourSchema>;

export const trainers: TrainersTable = { fake: () => Promise.resolve(train) };

async function train(input: TrainerInput): Promise<TrainerOutput> {
  const config = z.object({ behaviour: behaviourSchema }).parse(JSON.parse(await readFile(join(input.baseModel, "config.json"), "utf8")));
  const { steps, gain, generalHarm, waitAfterStep, deaf, dieAfterStep, throwAfterStep, lastWords, divergeAtStep } = config.behaviour;
  input.onLog(`fake training of ${input.train.length} rows`);
  for (let step = 1; step <= steps; step++) {
    if (!deaf) input.signal.throwIfAborted();
    const loss = step === divergeAtStep ? NaN : 3 - step / steps;
    input.onStep({ step, epoch: step / steps, loss, learningRate: 1e-4, gradientNorm: 1, tokens: 64, trainedTokens: 32, seconds: 0.01, at: Date.now() }, steps);
    if (step === dieAfterStep) {
      writeSync(2, lastWords);
      process.kill(process.pid, "SIGKILL");
    }
    if (step === throwAfterStep) throw new Error(lastWords);
    if (step === waitAfterStep) while (!existsSync(join(input.baseModel, "go")) && (deaf || !input.signal.aborted)) await sleep(10);
    await sleep(1);
  }
  if (!deaf) input.signal.throwIfAborted();
  const tokens = input.heldOut.map((_, index) => 10 + index);
  const total = tokens.reduce((sum, count) => sum + count, 0);
  // Rows differ a little, so that there is a standard error.
  const base = tokens.map((_, index) => 3 + index / 100);
  const adapter = base.map((loss, index) => loss - gain - (index % 2) / 1000);
  const live = input.liveAdapter === null ? null : base;
  const mean = (losses: readonly number[]) => losses.reduce((sum, loss, index) => sum + loss * (tokens[index] ?? 0), 0) / total;
  return {
    base: { name: "fake", sha256: "0".repeat(64) },
    device: "cpu",
    onnxruntime: "none",
    trainedTokenShare: 0.5,
    losses: { first: 3 - 1 / steps, last: 2 },
    training: { epochs: 1, steps, bestStep: steps, stoppedEarly: false, evaluations: [], packing: 1, recomputed: false, resumedAt: null, continued: null },
    forgetting: { base: generalHarm, live: null },
    heldOut: { base: mean(base), live: live === null ? null : mean(live), adapter: mean(adapter), rows: tokens.length, tokens: total, perRow: { base, adapter, live, tokens } },
    general: { base: 3, adapter: 3 + generalHarm, rows: input.general.length, tokens: 100 },
    config: { peft_type: "LORA", r: input.settings.rank, lora_alpha: input.settings.alpha, target_modules: ["q_proj"] },
    weights: safetensors(sha256(JSON.stringify([input.settings, input.train.map((row) => row.id)]))),
  };
}

/** A file of one tensor, whose values come from `seed`: other rows or settings give other weights, the same give the same. */
function safetensors(seed: string): Uint8Array {
  const values = Float32Array.from({ length: 8 }, (_, index) => parseInt(seed.slice(index * 4, index * 4 + 4), 16) / 65_536);
  const header = Buffer.from(JSON.stringify({ "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": { dtype: "F32", shape: [4, 2], data_offsets: [0, 32] } }).padEnd(136));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.from(values.buffer)]);
}
