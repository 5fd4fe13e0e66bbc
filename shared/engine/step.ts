/**
 * One training step as a compiled function: batch and state in, loss and new state out. What is trained (all weights, or an adapter) is the
 * caller's to say.
 */
import type { OnnxBackend } from "../tensor/backend.ts";
import { compile, type Compiled, type InputSpec } from "../tensor/compile.ts";
import { adamW, type AdamWSettings } from "../models/adamw.ts";
import type { ModelConfig } from "../models/config.ts";
import type { Lora, Weights } from "../models/linear.ts";
import { hiddenStates, logitsOf } from "../models/transformer.ts";
import { crossEntropy } from "../models/loss.ts";
import * as tf from "../models/tfjs.ts";
import type { Batch } from "./pack.ts";

export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  values: Float32Array;
}

/** How the model is put together from what is trained: the tensors come in the order of the parameters. */
export type Assemble = (trained: readonly tf.Tensor[]) => { weights: Weights; lora: Lora | null };

export interface StepResult {
  /** Mean over the batch's trained tokens, nats. */
  readonly loss: number;
  readonly gradientNorm: number;
}

export interface TrainStep {
  readonly compiled: Compiled;
  /** Runs one step and replaces the parameters' values. Blocks the thread. */
  run(batch: Batch, learningRate: number): Promise<StepResult>;
}

const batchSpecs = (rows: number, length: number): InputSpec[] => [
  { shape: [rows, length], dtype: "int32" },
  { shape: [rows, length], dtype: "int32" },
  { shape: [rows, length], dtype: "float32" },
  { shape: [rows, length], dtype: "int32" },
  { shape: [rows, length], dtype: "int32" },
];
const batchArrays = (batch: Batch) => [batch.tokens, batch.targets, batch.weights, batch.positions, batch.segments];

/**
 * All parameters end to end in one vector: the optimiser is then a dozen operators on one array, where an adapter of 30 layers would need ten thousand on
 * small ones. Those that weight decay is for (matrices) come first.
 */
class FlatParameters {
  readonly #ordered: readonly Parameter[];
  readonly sizes: readonly number[];
  readonly total: number;
  /** How many elements weight decay is for. */
  readonly decayed: number;
  values: Float32Array;

  constructor(parameters: readonly Parameter[]) {
    this.#ordered = [...parameters.filter(({ shape }) => shape.length > 1), ...parameters.filter(({ shape }) => shape.length <= 1)];
    this.sizes = this.#ordered.map(({ values }) => values.length);
    this.total = this.sizes.reduce((sum, size) => sum + size, 0);
    this.decayed = this.#ordered.filter(({ shape }) => shape.length > 1).reduce((sum, { values }) => sum + values.length, 0);
    this.values = new Float32Array(this.total);
  }

  /** What the parameters hold now; somebody may have given them other arrays. */
  gather(): Float32Array {
    this.#each((parameter, from) => {
      if (parameter.values.buffer !== this.values.buffer || parameter.values.byteOffset !== this.values.byteOffset + 4 * from) this.values.set(parameter.values, from);
    });
    return this.values;
  }

  /** The parameters become views of the new vector. */
  scatter(values: Float32Array): void {
    this.values = values;
    this.#each((parameter, from) => {
      parameter.values = values.subarray(from, from + parameter.values.length);
    });
  }

  /** The vector's parts in the shapes and the order of the parameters. */
  unflatten(flat: tf.Tensor, parameters: readonly Parameter[]): tf.Tensor[] {
    const parts = this.sizes.length === 1 ? [flat] : tf.split(flat, [...this.sizes]);
    return parameters.map((parameter) => {
      const part = parts[this.#ordered.indexOf(parameter)];
      if (part === undefined) throw new RangeError(`${parameter.name} is not part of the vector`);
      return tf.reshape(part, [...parameter.shape]);
    });
  }

  flatten(tensors: readonly tf.Tensor[], parameters: readonly Parameter[]): tf.Tensor {
    const ordered = this.#ordered.map((parameter) => tensors[parameters.indexOf(parameter)]);
    return tf.concat(ordered.map((tensor) => (tensor === undefined ? tf.zeros([0]) : tf.reshape(tensor, [-1]))));
  }

  #each(visit: (parameter: Parameter, from: number) => void): void {
    let from = 0;
    for (const parameter of this.#ordered) {
      visit(parameter, from);
      from += parameter.values.length;
    }
  }
}

export async function createTrainStep(backend: OnnxBackend, parameters: Parameter[], assemble: Assemble, config: ModelConfig, shape: { rows: number; length: number }, adam: AdamWSettings): Promise<TrainStep> {
  const flat = new FlatParameters(parameters);
  const scalar: InputSpec = { shape: [], dtype: "float32" };
  const vector: InputSpec = { shape: [flat.total], dtype: "float32" };
  const groups = [flat.decayed, flat.total - flat.decayed].filter((size) => size > 0);
  const decays = flat.decayed === 0 ? [false] : [true, false];
  const inGroups = (value: tf.Tensor) => (groups.length === 1 ? [value] : tf.split(value, groups));
  const compiled = await compile(backend, [...batchSpecs(shape.rows, shape.length), scalar, scalar, vector, vector, vector], (...inputs) => {
    const [tokens, targets, weights, positions, segments, learningRate, step, values, first, second] = inputs;
    if (!tokens || !targets || !weights || !positions || !segments || !learningRate || !step || !values || !first || !second) throw new RangeError("the step was traced with too few inputs");
    const lossOf = (...trained: tf.Tensor[]): tf.Scalar => {
      const model = assemble(trained);
      const hidden = hiddenStates(tokens, positions, segments, model.weights, model.lora, config);
      const losses = crossEntropy(logitsOf(hidden, model.weights, config), tf.reshape(targets, [-1]));
      const flatWeights = tf.reshape(weights, [-1]);
      return tf.div(tf.sum(tf.mul(losses, flatWeights)), tf.maximum(tf.sum(flatWeights), 1));
    };
    const { value, grads } = tf.valueAndGrads(lossOf)(flat.unflatten(values, parameters));
    const gradients = flat.flatten(grads, parameters);
    const next = adamW({ parameters: inGroups(values), first: inGroups(first), second: inGroups(second), decays }, inGroups(gradients), learningRate, step, adam);
    const joined = (parts: readonly tf.Tensor[]) => (parts.length === 1 && parts[0] !== undefined ? parts[0] : tf.concat([...parts]));
    return [value, next.norm, joined(next.parameters), joined(next.first), joined(next.second)];
  });
  let [first, second] = [new Float32Array(flat.total), new Float32Array(flat.total)];
  let steps = 0;
  return {
    compiled,
    async run(batch, learningRate) {
      steps++;
      const [loss, norm, values, nextFirst, nextSecond] = await compiled.run([...batchArrays(batch), Float32Array.of(learningRate), Float32Array.of(steps), flat.gather(), first, second]);
      if (values === undefined || nextFirst === undefined || nextSecond === undefined) throw new Error("the step returned too few outputs");
      flat.scatter(values as Float32Array);
      [first, second] = [nextFirst as Float32Array<ArrayBuffer>, nextSecond as Float32Array<ArrayBuffer>];
      return { loss: Number(loss?.[0]), gradientNorm: Number(norm?.[0]) };
    },
  };
}

export interface LossFunction {
  readonly compiled: Compiled;
  /** @param values of the parameters; default: those that it was made with. Others of the same shapes may be given, as another adapter's are. */
  run(batch: Batch, values?: readonly Parameter[]): Promise<Float32Array>;
}

/** Loss of each position of a batch [B·T] (nats; 0 where nothing is trained), without gradients. */
export async function createLossFunction(backend: OnnxBackend, parameters: readonly Parameter[], assemble: Assemble, config: ModelConfig, shape: { rows: number; length: number }): Promise<LossFunction> {
  const stateSpecs = parameters.map(({ shape: sides }): InputSpec => ({ shape: sides, dtype: "float32" }));
  const compiled = await compile(backend, [...batchSpecs(shape.rows, shape.length), ...stateSpecs], (...inputs) => {
    const [tokens, targets, weights, positions, segments, ...trained] = inputs;
    if (!tokens || !targets || !weights || !positions || !segments) throw new RangeError("the loss was traced with too few inputs");
    const model = assemble(trained);
    const hidden = hiddenStates(tokens, positions, segments, model.weights, model.lora, config);
    return [tf.mul(crossEntropy(logitsOf(hidden, model.weights, config), tf.reshape(targets, [-1])), tf.reshape(weights, [-1]))];
  });
  return {
    compiled,
    async run(batch, given = parameters) {
      const [losses] = await compiled.run([...batchArrays(batch), ...given.map(({ values }) => values)]);
      return losses as Float32Array;
    },
  };
}
