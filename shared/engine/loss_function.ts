/** The loss of each position without gradients: for evaluation, the forgetting figure and `/ab/compare`. A process that only serves loads no gradients for it. */
import type { ModelConfig } from "../models/config.ts";
import type { Lora, Weights } from "../models/linear.ts";
import * as tf from "../models/tfjs.ts";
import { hiddenStates, lossesOf } from "../models/transformer.ts";
import type { CacheKey } from "../tensor/compile_cache.ts";
import { compile, type Compiled, type InputSpec } from "../tensor/compile.ts";
import type { Backend } from "../tensor/open_backend.ts";
import { batchArity, batchArrays, batchSpecs, batchTensors, placesOf, type BatchShape, type BatchTensors } from "./batch_inputs.ts";
import type { Parameter } from "./flat_parameters.ts";
import type { Batch } from "./pack.ts";

/** How the model is put together from what is trained: the tensors come in the order of the parameters. */
export type Assemble = (trained: readonly tf.Tensor[]) => { weights: Weights; lora: Lora | null };

export interface LossFunction {
  readonly compiled: Compiled;
  /** @param values of the parameters; default: those that it was made with. Others of the same shapes may be given, as another adapter's are. */
  run(batch: Batch, values?: readonly Parameter[]): Promise<Float32Array>;
}

/** Loss of each position of a batch [B·T] (nats; 0 where nothing is trained), without gradients. */
export async function createLossFunction(backend: Backend, parameters: readonly Parameter[], assemble: Assemble, config: ModelConfig, shape: BatchShape, cache?: CacheKey): Promise<LossFunction> {
  const stateSpecs = parameters.map(({ shape: sides }): InputSpec => ({ shape: sides, dtype: "float32" }));
  const compiled = await compile(backend, [...batchSpecs(shape), ...stateSpecs], (...inputs) => {
    const batch = batchTensors(inputs);
    const model = assemble(inputs.slice(batchArity));
    const { tokens, positions, segments } = batch.rows;
    return [lossesAt(batch, hiddenStates(tokens, positions, segments, model.weights, model.lora, config), model.weights, config)];
  }, undefined, cached(cache, ["loss", config, shape, parameters.map((parameter) => [parameter.name, parameter.shape])]));
  return {
    compiled,
    async run(batch, given = parameters) {
      const [found] = await compiled.run([...batchArrays(batch, shape), ...given.map(({ values }) => values)]);
      const losses = new Float32Array(batch.tokens.length);
      placesOf(batch).forEach((place, index) => {
        losses[place] = Number(found?.[index]);
      });
      return losses;
    },
  };
}

/** Loss at each place, 0 where the batch has fewer than the graph's capacity; [capacity]. */
export function lossesAt({ places, targets, weights }: BatchTensors, hidden: tf.Tensor2D, all: Weights, config: ModelConfig): tf.Tensor1D {
  return tf.mul(lossesOf(tf.gather(hidden, places), targets, all, config), weights);
}

export function cached(cache: CacheKey | undefined, what: unknown): { cache?: CacheKey } {
  return cache === undefined ? {} : { cache: { folder: cache.folder, key: JSON.stringify([cache.key, what]) } };
}
