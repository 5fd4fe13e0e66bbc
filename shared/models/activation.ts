/** The activations of the families that we know. */
import * as tf from "./tfjs.ts";

/** x · σ(x) (Elfwing et al. 2018). */
const silu = <T extends tf.Tensor>(x: T): T => tf.mul(x, tf.sigmoid(x));

/**
 * silu(gate) · up (Shazeer 2020), with the gradient written out: tfjs's own would go over arrays of this size a dozen times.
 * With s = σ(gate), a = gate · s: d up = dy · a, d gate = dy · up · (s + a · (1 − s)).
 */
export function swiGlu<T extends tf.Tensor>(gate: T, up: T): T {
  const compute = tf.customGrad((...given) => {
    const [g, u] = given as unknown as [tf.Tensor, tf.Tensor];
    const save = given.at(-1) as unknown as tf.GradSaveFunc;
    const s = tf.sigmoid(g);
    const a = tf.mul(g, s);
    save([u, s, a]);
    return {
      value: tf.mul(a, u),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [savedU, savedS, savedA] = saved;
        if (savedU === undefined || savedS === undefined || savedA === undefined) throw new Error("tfjs lost what was saved for the gradient");
        const slope = tf.add(savedS, tf.sub(savedA, tf.mul(savedA, savedS)));
        return [tf.mul(tf.mul(dy, savedU), slope), tf.mul(dy, savedA)];
      },
    };
  });
  return compute(gate, up) as T;
}

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
