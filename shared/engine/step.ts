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

export async function createTrainStep(backend: OnnxBackend, parameters: Parameter[], assemble: Assemble, config: ModelConfig, shape: { rows: number; length: number }, adam: AdamWSettings): Promise<TrainStep> {
  const count = parameters.length;
  const stateSpecs = parameters.map(({ shape: sides }): InputSpec => ({ shape: sides, dtype: "float32" }));
  const scalar: InputSpec = { shape: [], dtype: "float32" };
  const compiled = await compile(backend, [...batchSpecs(shape.rows, shape.length), scalar, scalar, ...stateSpecs, ...stateSpecs, ...stateSpecs], (...inputs) => {
    const [tokens, targets, weights, positions, segments, learningRate, step, ...state] = inputs;
    if (!tokens || !targets || !weights || !positions || !segments || !learningRate || !step) throw new RangeError("the step was traced with too few inputs");
    const lossOf = (...trained: tf.Tensor[]): tf.Scalar => {
      const model = assemble(trained);
      const hidden = hiddenStates(tokens, positions, segments, model.weights, model.lora, config);
      const losses = crossEntropy(logitsOf(hidden, model.weights, config), tf.reshape(targets, [-1]));
      const flat = tf.reshape(weights, [-1]);
      return tf.div(tf.sum(tf.mul(losses, flat)), tf.maximum(tf.sum(flat), 1));
    };
    const { value, grads } = tf.valueAndGrads(lossOf)(state.slice(0, count));
    const next = adamW({ parameters: state.slice(0, count), first: state.slice(count, 2 * count), second: state.slice(2 * count) }, grads, learningRate, step, adam);
    return [value, next.norm, ...next.parameters, ...next.first, ...next.second];
  });
  let moments: Float32Array[] = [...parameters, ...parameters].map(({ values }) => new Float32Array(values.length));
  let steps = 0;
  return {
    compiled,
    async run(batch, learningRate) {
      steps++;
      const [loss, norm, ...state] = await compiled.run([...batchArrays(batch), Float32Array.of(learningRate), Float32Array.of(steps), ...parameters.map(({ values }) => values), ...moments]);
      parameters.forEach((parameter, at) => {
        parameter.values = state[at] as Float32Array;
      });
      moments = state.slice(count) as Float32Array[];
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
