/** Root mean square normalisation (Zhang & Sennrich 2019). */
import * as tf from "./tfjs.ts";

/** x [.., D] normed over its last axis, times `gain` [D]. */
export function rmsNorm<T extends tf.Tensor>(x: T, gain: tf.Tensor, epsilon: number): T {
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
  return tf.mul(tf.mul(x, scale), gain);
}
