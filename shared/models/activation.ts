/** The activations of the families that we know. */
import * as tf from "./tfjs.ts";

/** x · σ(x) (Elfwing et al. 2018). */
export const silu = <T extends tf.Tensor>(x: T): T => tf.mul(x, tf.sigmoid(x));

/** GELU (Hendrycks & Gimpel 2016) by the approximation with tanh. */
export const geluTanh = <T extends tf.Tensor>(x: T): T => {
  const inner = tf.mul(tf.add(x, tf.mul(tf.mul(x, tf.square(x)), 0.044715)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
};

/** GELU itself: x · Φ(x). */
export const gelu = <T extends tf.Tensor>(x: T): T => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

export const activations = { silu, gelu_tanh: geluTanh } as const;

/** x → cap · tanh(x / cap): nearly x where it is small, never beyond the cap (Gemma 2). */
export const softCap = <T extends tf.Tensor>(x: T, cap: number | null): T => (cap === null ? x : tf.mul(tf.tanh(tf.div(x, cap)), cap));
