/**
 * A batch as the inputs of compiled functions. Loss is taken at a list of places, not everywhere: the head is a fifth of a small model's work, and a
 * conversation's questions carry no loss.
 */
import { chunkRows } from "../models/loss.ts";
import type * as tf from "../models/tfjs.ts";
import type { InputSpec } from "../tensor/compile.ts";
import type { TypedArray } from "../tensor/graph.ts";
import type { Batch } from "./pack.ts";

export interface BatchShape {
  readonly rows: number;
  readonly length: number;
  /** Most places of a batch that carry loss; default: all positions. Whoever knows the batches beforehand says how many the fullest has (`roomFor`). */
  readonly trained?: number;
}

/** Places for a fullest batch of so many trained tokens: rounded up to what the head's product takes at a time. @param positions of a batch, B·T */
export function roomFor(mostTrained: number, positions: number): number {
  return Math.min(Math.max(1, Math.ceil(mostTrained / chunkRows)) * chunkRows, positions);
}

const capacityOf = ({ rows, length, trained = rows * length }: BatchShape): number => trained;

export interface BatchTensors {
  /** Each int32 [B, T]. */
  readonly rows: { readonly tokens: tf.Tensor; readonly positions: tf.Tensor; readonly segments: tf.Tensor };
  /** Indices into the B·T positions, int32 [capacity]. */
  readonly places: tf.Tensor1D;
  /** int32 [capacity] */
  readonly targets: tf.Tensor1D;
  /** 1, or 0 where the batch has fewer places than the capacity. */
  readonly weights: tf.Tensor1D;
}

export const batchArity = 6;

export function batchSpecs(shape: BatchShape): InputSpec[] {
  const capacity = capacityOf(shape);
  const everywhere: InputSpec = { shape: [shape.rows, shape.length], dtype: "int32" };
  return [everywhere, everywhere, everywhere, { shape: [capacity], dtype: "int32" }, { shape: [capacity], dtype: "int32" }, { shape: [capacity], dtype: "float32" }];
}

/** @throws RangeError when there are fewer tensors than a batch has */
export function batchTensors([tokens, positions, segments, places, targets, weights]: readonly tf.Tensor[]): BatchTensors {
  if (!tokens || !positions || !segments || !places || !targets || !weights) throw new RangeError(`a batch has ${batchArity} tensors`);
  return { rows: { tokens, positions, segments }, places: places as tf.Tensor1D, targets: targets as tf.Tensor1D, weights: weights as tf.Tensor1D };
}

/** In the order of `batchSpecs`. @throws RangeError when more places carry loss than the graph was compiled for */
export function batchArrays(batch: Batch, shape: BatchShape): TypedArray[] {
  const capacity = capacityOf(shape);
  const [places, targets, weights] = [new Int32Array(capacity), new Int32Array(capacity), new Float32Array(capacity)];
  placesOf(batch).forEach((place, at) => {
    if (at === capacity) throw new RangeError(`more than ${capacity} positions of the batch carry loss`);
    places[at] = place;
    targets[at] = batch.targets[place] ?? 0;
    weights[at] = batch.weights[place] ?? 0;
  });
  return [batch.tokens, batch.positions, batch.segments, places, targets, weights];
}

/** Where the batch carries loss, in rising order. */
export function placesOf(batch: Batch): number[] {
  const places: number[] = [];
  batch.weights.forEach((weight, at) => {
    if (weight !== 0) places.push(at);
  });
  return places;
}
