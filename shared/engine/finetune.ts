/**
 * LoRA training of one adapter on one set of examples: epochs over packed sequences, AdamW, warm-up and decay. Knows nothing of rows, files or
 * queues; the loop is plain on purpose.
 */
import { adamWDefaults } from "../models/adamw.ts";
import { createRandom } from "../models/random.ts";
import type { LoraModule } from "../peft/adapter.ts";
import { toLora, type LanguageModel } from "./language_model.ts";
import { packSequences, toBatch, type Batch, type Example } from "./pack.ts";
import { createLossFunction, createTrainStep, type Parameter } from "./step.ts";

export interface FinetuneSettings {
  readonly rank: number;
  readonly alpha: number;
  readonly epochs: number;
  readonly learningRate: number;
  readonly sequenceLength: number;
  readonly batchSize: number;
  readonly seed: number;
}

export interface FinetuneStep {
  readonly step: number;
  readonly steps: number;
  /** Epochs behind, with the part of the one under way. */
  readonly epoch: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
  readonly tokens: number;
  readonly trainedTokens: number;
  readonly seconds: number;
}

export interface Finetuner {
  /** A and B of each module, in turn; B begins at zero. */
  readonly parameters: Parameter[];
  readonly compileMilliseconds: number;
  train(this: void, examples: readonly Example[], onStep: (step: FinetuneStep) => void, signal: AbortSignal): Promise<void>;
  /** Loss of each position of a batch under the adapter as it is now. */
  loss(this: void, batch: Batch): Promise<Float32Array>;
}

export async function createFinetuner(model: LanguageModel, modules: readonly LoraModule[], settings: FinetuneSettings): Promise<Finetuner> {
  const { config } = model.folder;
  const random = createRandom(settings.seed);
  const parameters = initialAdapter(modules, settings.rank, () => random.next());
  const shape = { rows: settings.batchSize, length: settings.sequenceLength };
  const scale = settings.alpha / settings.rank;
  const assemble = (tensors: Parameters<typeof toLora>[1]) => ({ weights: model.weights, lora: toLora(parameters, tensors, scale) });
  const step = await createTrainStep(model.backend, parameters, assemble, config, shape, adamWDefaults);
  const evaluation = await createLossFunction(model.backend, parameters, assemble, config, shape);
  return {
    parameters,
    compileMilliseconds: step.compileMilliseconds + evaluation.compiled.milliseconds.trace + evaluation.compiled.milliseconds.open,
    loss: (batch) => evaluation.run(batch),
    async train(examples, onStep, signal) {
      // All epochs are packed at the beginning: another order may need a sequence more or less, and the number of steps is promised with the first.
      const epochs = Array.from({ length: settings.epochs }, () => inGroups(packSequences(random.shuffle(examples), shape.length), shape.rows));
      const steps = epochs.reduce((sum, groups) => sum + groups.length, 0);
      let done = 0;
      for (const [epoch, groups] of epochs.entries()) {
        for (const [at, group] of groups.entries()) {
          signal.throwIfAborted();
          const batch = toBatch(group, shape.rows, shape.length);
          const learningRate = learningRateAt(done, steps, settings.learningRate);
          const started = performance.now();
          const { loss, gradientNorm } = await step.run(batch, learningRate);
          done++;
          onStep({ step: done, steps, epoch: epoch + (at + 1) / groups.length, loss, learningRate, gradientNorm, tokens: batch.usedTokens, trainedTokens: batch.trainedTokens, seconds: (performance.now() - started) / 1000 });
        }
      }
    },
  };
}

function inGroups<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, at) => list.slice(at * size, (at + 1) * size));
}

/** As PEFT begins: A uniform within ±1/√in (Kaiming with a = √5), B zero, so that the adapter begins as the base. */
function initialAdapter(modules: readonly LoraModule[], rank: number, uniform: () => number): Parameter[] {
  return modules.flatMap(({ name, inputs, outputs }) => [
    { name: `${name}.A`, shape: [rank, inputs], values: new Float32Array(rank * inputs).map(() => (2 * uniform() - 1) / Math.sqrt(inputs)) },
    { name: `${name}.B`, shape: [outputs, rank], values: new Float32Array(outputs * rank) },
  ]);
}

/** Linear warm-up over the first 5 % of the steps, then a cosine to zero. */
export function learningRateAt(step: number, steps: number, peak: number): number {
  const warmUp = Math.ceil(steps * 0.05);
  if (step < warmUp) return (peak * (step + 1)) / warmUp;
  return (peak * (1 + Math.cos((Math.PI * (step - warmUp)) / Math.max(1, steps - warmUp)))) / 2;
}
