/**
 * One training step as compiled functions: batches and state in, loss and new state out. What is trained (all weights, or an adapter) is the
 * caller's to say.
 */
import type { CacheKey } from "../tensor/compile_cache.ts";
import { compile, type Compiled, type InputSpec } from "../tensor/compile.ts";
import type { Backend } from "../tensor/open_backend.ts";
import { adamW, type AdamWSettings } from "../models/adamw.ts";
import type { ModelConfig } from "../models/config.ts";
import { dropoutKeys } from "../models/dropout.ts";
import type { Weights } from "../models/linear.ts";
import { plainGradients, recomputedGradients, type LossAndGradients } from "../models/recompute.ts";
import * as tf from "../models/tfjs.ts";
import { batchArity, batchArrays, batchSpecs, batchTensors, type BatchShape } from "./batch_inputs.ts";
import { FlatParameters, type Parameter } from "./flat_parameters.ts";
import { cached, lossesAt, type Assemble } from "./loss_function.ts";
import type { Batch } from "./pack.ts";

export type { Parameter } from "./flat_parameters.ts";

export interface StepOptions {
  /** How many batches one step takes: their gradients are those of one batch that holds all of them. Default 1. */
  readonly accumulation?: number;
  /** Compute the blocks again in the backward pass, instead of keeping what they computed. For adapters only. */
  readonly recompute?: boolean;
  /** On what goes into the adapter. */
  readonly dropout?: { readonly share: number; readonly seed: number };
  /** Copy the frozen weights into the layout that products like best, see CompileOptions. Changes the last bits of a result. */
  readonly packWeights?: boolean;
  /** Keep the compiled graphs. The key has to name the model and whatever `assemble` does besides putting the parameters in their places. */
  readonly cache?: CacheKey;
}

export interface StepResult {
  /** Mean over the trained tokens of all batches, nats. */
  readonly loss: number;
  readonly gradientNorm: number;
}

/** All that a step depends on besides its batches. Each array is as long as all parameters together. */
export interface OptimiserState {
  readonly steps: number;
  readonly values: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
}

export interface TrainStep {
  /** The graph of forward and backward pass. */
  readonly compiled: Compiled;
  /** Spent on compiling, in all. */
  readonly compileMilliseconds: number;
  /** Runs one step on at most `accumulation` batches and replaces the parameters' values. Blocks the thread. */
  run(batches: Batch | readonly Batch[], learningRate: number): Promise<StepResult>;
  /** The state as it is: the arrays are not copied, and not written to later. */
  state(): OptimiserState;
  /** Goes on from a state that a step of the same parameters gave. @throws RangeError when the lengths differ */
  restore(state: OptimiserState): void;
  close(): Promise<void>;
}

const scalar: InputSpec = { shape: [], dtype: "float32" };

export async function createTrainStep(backend: Backend, parameters: Parameter[], assemble: Assemble, config: ModelConfig, shape: BatchShape, adam: AdamWSettings, options: StepOptions = {}): Promise<TrainStep> {
  const { accumulation = 1, recompute = false, packWeights = false, dropout } = options;
  const kept = (part: string) => ({ prepack: packWeights, ...cached(options.cache, [part, config, shape, adam, accumulation, recompute, dropout?.share ?? 0, parameters.map((parameter) => [parameter.name, parameter.shape])]) });
  const flat = new FlatParameters(parameters);
  const vector: InputSpec = { shape: [flat.total], dtype: "float32" };
  const keys: InputSpec[] = dropout === undefined ? [] : [{ shape: [shape.rows * shape.length], dtype: "int32" }];
  const inputs = [...batchSpecs(shape), vector, ...keys];

  /** Mean loss of a batch, or its sum where batches are put together, and the gradients end to end. */
  const lossAndGradients = (tensors: readonly tf.Tensor[], mean: boolean): { loss: tf.Tensor; gradient: tf.Tensor } => {
    const batch = batchTensors(tensors);
    const values = at(tensors, batchArity);
    const drawn = tensors[batchArity + 1];
    const withDropout: Assemble = (trained) => {
      const model = assemble(trained);
      if (dropout === undefined || drawn === undefined || model.lora === null) return model;
      return { ...model, lora: { ...model.lora, dropout: { share: dropout.share, keys: drawn } } };
    };
    const task = {
      rows: batch.rows,
      config,
      trained: flat.unflatten(values, parameters),
      assemble: withDropout,
      loss: (hidden: tf.Tensor2D, all: Weights): tf.Scalar => {
        const sum: tf.Scalar = tf.sum(lossesAt(batch, hidden, all, config));
        return mean ? tf.div(sum, tf.maximum(tf.sum(batch.weights), 1)) : sum;
      },
    };
    const { value, grads }: LossAndGradients = recompute ? recomputedGradients(task, parameters.map(layerOf)) : plainGradients(task);
    return { loss: value, gradient: flat.flatten(grads, parameters) };
  };
  const optimise = (gradient: tf.Tensor, values: tf.Tensor, [first, second, learningRate, step]: readonly tf.Tensor[]): tf.Tensor[] => {
    if (!first || !second || !learningRate || !step) throw new RangeError("the optimiser was traced with too few inputs");
    const groups = [flat.decayed, flat.total - flat.decayed].filter((size) => size > 0);
    const decays = flat.decayed === 0 ? [false] : [true, false];
    const inGroups = (value: tf.Tensor) => (groups.length === 1 ? [value] : tf.split(value, groups));
    const joined = (parts: readonly tf.Tensor[]) => (parts.length === 1 && parts[0] !== undefined ? parts[0] : tf.concat([...parts]));
    const next = adamW({ parameters: inGroups(values), first: inGroups(first), second: inGroups(second), decays }, inGroups(gradient), learningRate, step, adam);
    return [next.norm, joined(next.parameters), joined(next.first), joined(next.second)];
  };

  const optimiser = [vector, vector, scalar, scalar];
  const compiled = await (accumulation === 1
    ? compile(backend, [...inputs, ...optimiser], (...tensors) => {
        const { loss, gradient } = lossAndGradients(tensors, true);
        return [loss, ...optimise(gradient, at(tensors, batchArity), tensors.slice(inputs.length))];
      }, undefined, kept("step"))
    : compile(backend, [...inputs, vector], (...tensors) => {
        const { loss, gradient } = lossAndGradients(tensors, false);
        return [loss, tf.add(at(tensors, inputs.length), gradient)];
      }, undefined, kept("gradients")));
  const update = accumulation === 1 ? null : await compile(backend, [vector, scalar, vector, ...optimiser], (sum, tokens, values, ...rest) => optimise(tf.div(at([sum], 0), tf.maximum(at([tokens], 0), 1)), at([values], 0), rest), undefined, kept("update"));

  let [first, second] = [new Float32Array(flat.total), new Float32Array(flat.total)];
  let steps = 0;
  const drawn = (batch: number) => (dropout === undefined ? [] : [dropoutKeys(shape.rows * shape.length, dropout.seed, steps, batch)]);
  const accumulated = async (batches: readonly Batch[], learningRate: number): Promise<(readonly unknown[] | Float32Array)[]> => {
    let sum: Float32Array = new Float32Array(flat.total);
    let loss = 0;
    for (const [batch, arrays] of batches.entries()) {
      const [value, next] = await compiled.run([...batchArrays(arrays, shape), flat.gather(), ...drawn(batch), sum]);
      if (!(next instanceof Float32Array)) throw new Error("the step returned too few outputs");
      sum = next;
      loss += Number(value?.[0]);
    }
    const tokens = batches.reduce((total, { trainedTokens }) => total + trainedTokens, 0);
    const state = (await update?.run([sum, Float32Array.of(tokens), flat.gather(), first, second, Float32Array.of(learningRate), Float32Array.of(steps)])) ?? [];
    return [[loss / Math.max(tokens, 1)], ...(state as Float32Array[])];
  };
  return {
    compiled,
    compileMilliseconds: [compiled, update].reduce((sum, graph) => sum + (graph === null ? 0 : graph.milliseconds.trace + graph.milliseconds.open), 0),
    async run(given, learningRate) {
      const batches: readonly Batch[] = "tokens" in given ? [given] : given;
      const [only] = batches;
      if (only === undefined || batches.length > accumulation) throw new RangeError(`${batches.length} batches do not go into a step of ${accumulation}`);
      steps++;
      const outputs =
        accumulation === 1 ? await compiled.run([...batchArrays(only, shape), flat.gather(), ...drawn(0), first, second, Float32Array.of(learningRate), Float32Array.of(steps)]) : await accumulated(batches, learningRate);
      const [loss, norm, values, nextFirst, nextSecond] = outputs;
      if (!(values instanceof Float32Array) || !(nextFirst instanceof Float32Array) || !(nextSecond instanceof Float32Array)) throw new Error("the step returned too few outputs");
      flat.scatter(values);
      [first, second] = [nextFirst as Float32Array<ArrayBuffer>, nextSecond as Float32Array<ArrayBuffer>];
      return { loss: Number(loss?.[0]), gradientNorm: Number(norm?.[0]) };
    },
    state: () => ({ steps, values: flat.gather(), first, second }),
    restore(state) {
      for (const [name, { length }] of Object.entries({ values: state.values, first: state.first, second: state.second })) if (length !== flat.total) throw new RangeError(`${name} has ${length} elements, the parameters have ${flat.total}`);
      steps = state.steps;
      flat.scatter(state.values.slice());
      [first, second] = [state.first.slice(), state.second.slice()];
    },
    close: async () => {
      await compiled.close();
      await update?.close();
    },
  };
}

function at(tensors: readonly (tf.Tensor | undefined)[], index: number): tf.Tensor {
  const tensor = tensors[index];
  if (tensor === undefined) throw new RangeError("the step was traced with too few inputs");
  return tensor;
}

/** The block that a parameter belongs to; -1 when it is outside of them. */
function layerOf({ name }: Parameter): number {
  return Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);
}
