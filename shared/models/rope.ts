/** Rotary position embedding (Su et al. 2021), in the layout that rotates the two halves of a head against each other. */
import type { ModelConfig } from "./config.ts";
import * as tf from "./tfjs.ts";

export interface Rotation {
  /** [B, 1, T, S], broadcast over heads. */
  readonly cos: tf.Tensor;
  readonly sin: tf.Tensor;
}

/** @param positions int32 [B, T] → cos and sin [B, 1, T, S] */
export function rotation(positions: tf.Tensor, c: ModelConfig): Rotation {
  const half = c.headSize / 2;
  const frequencies = tf.tensor1d(Float32Array.from({ length: half }, (_, at) => c.ropeTheta ** (-at / half)));
  const angles = tf.mul(tf.expandDims(tf.expandDims(tf.cast(positions, "float32"), 1), -1), frequencies);
  const both = tf.concat([angles, angles], -1);
  return { cos: tf.cos(both), sin: tf.sin(both) };
}

/** x [B, heads, T, S] turned by its positions */
export function rotate(x: tf.Tensor4D, { cos, sin }: Rotation): tf.Tensor4D {
  const [first, second] = tf.split(x, 2, -1);
  if (first === undefined || second === undefined) throw new RangeError("a head could not be split");
  return tf.add(tf.mul(x, cos), tf.mul(tf.concat([tf.neg(second), first], -1), sin));
}
