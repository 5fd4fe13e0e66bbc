/**
 * LoRA training of one adapter on one set of examples: epochs over packed sequences, AdamW, early stopping, and a state from which a training that was
 * cut off goes on to the same bits. Knows nothing of rows, files or queues.
 */
import { adamWDefaults } from "../models/adamw.ts";
import { createRandom } from "../models/random.ts";
import { loraScale } from "../peft/config.ts";
import type { LoraModule } from "../peft/adapter.ts";
import { toLora, type LanguageModel } from "./language_model.ts";
import { roomFor } from "./batch_inputs.ts";
import { createLossFunction } from "./loss_function.ts";
import { packSequences, toBatch, type Batch, type Example } from "./pack.ts";
import { Progress, type FinetuneState } from "./progress.ts";
import { learningRateAt, type Schedule } from "./schedule.ts";
import { createTrainStep, type Parameter } from "./step.ts";

export interface FinetuneSettings extends Schedule {
  readonly rank: number;
  readonly alpha: number;
  /** Scale by alpha / √rank instead of alpha / rank. */
  readonly rankStabilised: boolean;
  /** Share of the adapter's inputs that are zero in training. */
  readonly dropout: number;
  readonly epochs: number;
  readonly weightDecay: number;
  /** Longer gradients are scaled down to it; 0 = never. */
  readonly clipNorm: number;
  readonly sequenceLength: number;
  /** Packed sequences that are computed together. */
  readonly batchSize: number;
  /** Batches in a step of the optimiser. */
  readonly accumulation: number;
  /** When the held-out loss is measured: after each epoch, only when all is done, or every so many steps. */
  readonly evaluation: "epoch" | "end" | number;
  /** Measurements without a new best after which training stops; 0 = it never stops early. */
  readonly patience: number;
  /** Compute blocks again in the backward pass, to save memory. */
  readonly recompute: boolean;
  /** Copy the frozen weights into the layout that products like best: memory for speed. */
  readonly packWeights: boolean;
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

export interface FinetuneHooks {
  readonly onStep: (step: FinetuneStep) => void;
  /** Held-out loss of the adapter as it is, nats a token. Without it the last weights are the result. */
  readonly evaluate?: () => Promise<number>;
  /** Called after each measurement. */
  readonly onEvaluation?: (evaluation: Evaluation, best: boolean) => void;
  /** A state that `save` got from a training of the same settings, examples and model. */
  readonly from?: FinetuneState;
  /** Called after each step; what it does with the state is its own business. */
  readonly save?: (state: () => FinetuneState) => Promise<void>;
}

export interface Evaluation {
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
}

/** How a training came out. The parameters hold the best adapter then. */
export interface Finetuned {
  /** Steps that were done, in all attempts together. */
  readonly steps: number;
  readonly stoppedEarly: boolean;
  readonly evaluations: readonly Evaluation[];
  /** The step whose weights are the result. */
  readonly bestStep: number;
  readonly losses: { readonly first: number; readonly last: number };
  /** Share of all planned positions that carry a token. */
  readonly packing: number;
}

export interface Finetuner {
  /** A and B of each module, in turn; B begins at zero. */
  readonly parameters: Parameter[];
  readonly compileMilliseconds: number;
  train(this: void, hooks: FinetuneHooks, signal: AbortSignal): Promise<Finetuned>;
  /** Loss of each position of a batch, without dropout. @param of the adapter as it is now, or an adapter that changes nothing */
  loss(this: void, batch: Batch, of?: "adapter" | "base"): Promise<Float32Array>;
}

/**
 * @param examples what to train on; they are planned before anything is compiled, because the step's graph has room for the fullest batch and no more
 * @param initial A and B by module name, to go on from; default: an adapter that changes nothing yet
 */
export async function createFinetuner(model: LanguageModel, modules: readonly LoraModule[], settings: FinetuneSettings, examples: readonly Example[], initial?: ReadonlyMap<string, { readonly A: Float32Array; readonly B: Float32Array }>): Promise<Finetuner> {
  const { config } = model.folder;
  const random = createRandom(settings.seed);
  const parameters = initialAdapter(modules, settings.rank, () => random.next());
  if (initial !== undefined) continueFrom(parameters, initial);
  const shape = { rows: settings.batchSize, length: settings.sequenceLength };
  const scale = loraScale(settings.rank, settings.alpha, settings.rankStabilised);
  const assemble = (tensors: Parameters<typeof toLora>[1]) => ({ weights: model.weights, lora: toLora(parameters, tensors, scale) });
  const { accumulation, recompute, packWeights, dropout, seed, weightDecay, clipNorm } = settings;
  const cache = { ...model.compiled, key: `${model.compiled.key} scale ${scale}` };
  const plan = planSteps(examples, settings, (list) => random.shuffle(list));
  const trained = roomFor(mostTrained(plan), shape.rows * shape.length);
  const step = await createTrainStep(model.backend, parameters, assemble, config, { ...shape, trained }, { ...adamWDefaults, weightDecay, clipNorm }, { accumulation, recompute, packWeights, cache, ...(dropout > 0 ? { dropout: { share: dropout, seed } } : {}) });
  const nothing = parameters.map((parameter) => ({ ...parameter, values: new Float32Array(parameter.values.length) }));
  const evaluation = await createLossFunction(model.backend, parameters, assemble, config, shape, cache);
  return {
    parameters,
    compileMilliseconds: step.compileMilliseconds + evaluation.compiled.milliseconds.trace + evaluation.compiled.milliseconds.open,
    loss: (batch, of = "adapter") => evaluation.run(batch, of === "adapter" ? parameters : nothing),
    async train(hooks, signal) {
      const progress = new Progress(step, settings.patience, hooks.from);
      for (const [at, { batches, epoch, endsEpoch }] of plan.entries()) {
        if (at < progress.steps) continue; // done before the cut
        if (progress.stops) break;
        signal.throwIfAborted();
        const packed = batches.map((group) => toBatch(group, shape.rows, shape.length));
        const learningRate = learningRateAt(at, plan.length, settings);
        const started = performance.now();
        const { loss, gradientNorm } = await step.run(packed, learningRate);
        const done = at + 1;
        const sum = (count: (batch: Batch) => number) => packed.reduce((total, batch) => total + count(batch), 0);
        progress.add(done, loss);
        hooks.onStep({ step: done, steps: plan.length, epoch, loss, learningRate, gradientNorm, tokens: sum(({ usedTokens }) => usedTokens), trainedTokens: sum(({ trainedTokens }) => trainedTokens), seconds: (performance.now() - started) / 1000 });
        if (hooks.evaluate !== undefined && isDue(settings.evaluation, done, endsEpoch, plan.length)) {
          const measured = { step: done, epoch, loss: await hooks.evaluate() };
          const best = progress.measure(measured);
          hooks.onEvaluation?.(measured, best);
        }
        await hooks.save?.(() => progress.state());
      }
      return { ...progress.finish(plan.length), packing: packingOf(plan, shape) };
    },
  };
}

function isDue(evaluation: FinetuneSettings["evaluation"], done: number, endsEpoch: boolean, steps: number): boolean {
  if (evaluation === "end" || done === steps) return done === steps;
  return evaluation === "epoch" ? endsEpoch : done % evaluation === 0;
}

export interface PlannedStep {
  readonly batches: readonly (readonly (readonly Example[])[])[];
  /** Epochs behind when the step is done. */
  readonly epoch: number;
  readonly endsEpoch: boolean;
}

/**
 * Which sequences go into which step. All epochs are packed at the beginning: another order may need a sequence more or less, and the number of steps is
 * promised with the first. The same settings, examples and random numbers give the same plan, so a place in it is all that a resumed training needs.
 */
function planSteps(examples: readonly Example[], settings: Pick<FinetuneSettings, "epochs" | "sequenceLength" | "batchSize" | "accumulation">, shuffle: <T>(list: readonly T[]) => T[]): PlannedStep[] {
  return Array.from({ length: settings.epochs }, (_, epoch) => {
    const sequences = shuffle(packSequences(shuffle(examples), settings.sequenceLength));
    const steps = inGroups(inGroups(sequences, settings.batchSize), settings.accumulation);
    return steps.map((batches, at) => ({ batches, epoch: epoch + (at + 1) / steps.length, endsEpoch: at + 1 === steps.length }));
  }).flat();
}

/** Tokens that carry loss in the batch that has most of them. */
function mostTrained(plan: readonly PlannedStep[]): number {
  const trainedOf = ({ trained }: Example) => trained.reduce((count, one, at) => count + Number(at > 0 && one), 0);
  return plan.flatMap(({ batches }) => batches).reduce((most, group) => Math.max(most, group.flat().reduce((sum, example) => sum + trainedOf(example), 0)), 0);
}

function packingOf(plan: readonly PlannedStep[], shape: { rows: number; length: number }): number {
  const batches = plan.flatMap((step) => step.batches);
  const used = batches.flat(2).reduce((sum, { ids }) => sum + ids.length - 1, 0);
  return batches.length === 0 ? 1 : used / (batches.length * shape.rows * shape.length);
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

/** @throws RangeError when the adapters have different modules or ranks */
function continueFrom(parameters: readonly Parameter[], initial: ReadonlyMap<string, { readonly A: Float32Array; readonly B: Float32Array }>): void {
  if (initial.size * 2 !== parameters.length) throw new RangeError(`an adapter on ${parameters.length / 2} modules can't go on from one on ${initial.size}`);
  for (const parameter of parameters) {
    const module = initial.get(parameter.name.slice(0, -2));
    const values = parameter.name.endsWith(".A") ? module?.A : module?.B;
    if (values?.length !== parameter.values.length) throw new RangeError(`${parameter.name} has ${parameter.values.length} elements, the adapter to go on from ${values?.length ?? "has none"}`);
    parameter.values = values.slice();
  }
}
