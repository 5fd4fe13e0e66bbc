/** Normalisations over the last axis. */
import * as tf from "./tfjs.ts";

/** Root mean square normalisation (Zhang & Sennrich 2019). x [.., D], times `gain` [D] + `offset`. */
export function rmsNorm<T extends tf.Tensor>(x: T, gain: tf.Tensor, epsilon: number, offset: 0 | 1 = 0): T {
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
  return tf.mul(tf.mul(x, scale), offset === 0 ? gain : tf.add(gain, offset));
}

/** Layer normalisation (Ba et al. 2016). x [.., D], times `gain` [D] plus `bias` [D]. */
export function layerNorm<T extends tf.Tensor>(x: T, gain: tf.Tensor, bias: tf.Tensor, epsilon: number): T {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon));
  return tf.add(tf.mul(tf.mul(centred, scale), gain), bias);
}
