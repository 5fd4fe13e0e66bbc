/** Normalisations over the last axis. */
import { ownKernel } from "./kernel.ts";
import * as tf from "./tfjs.ts";

/**
 * Root mean square normalisation (Zhang & Sennrich 2019). x [.., D], times `gain` [D] + `offset`. With r = 1 / √(mean x² + ε) and g the gain:
 * dx = r · (dy · g − x · r² · mean(dy · g · x)), written out because tfjs's own gradient goes over x three times as often.
 */
export function rmsNorm<T extends tf.Tensor>(x: T, gain: tf.Tensor, epsilon: number, offset: 0 | 1 = 0): T {
  const compute = tf.customGrad((...given) => {
    const [input, scale] = given as unknown as [tf.Tensor, tf.Tensor];
    const save = given.at(-1) as unknown as tf.GradSaveFunc;
    const [normed, inverse] = normAndInverse(input, scale, epsilon);
    save([input, scale, inverse]);
    return {
      value: normed,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [savedX, savedScale, r] = saved;
        if (savedX === undefined || savedScale === undefined || r === undefined) throw new Error("tfjs lost what was saved for the gradient");
        const slope = tf.mul(dy, savedScale);
        const pull = tf.mul(tf.mean(tf.mul(slope, savedX), -1, true), tf.square(r));
        const outer = savedX.shape.slice(0, -1).map((_, axis) => axis);
        return [tf.mul(tf.sub(slope, tf.mul(savedX, pull)), r), tf.sum(tf.mul(dy, tf.mul(savedX, r)), outer)];
      },
    };
  });
  return compute(x, offset === 0 ? gain : tf.add(gain, offset)) as T;
}

function normAndInverse(x: tf.Tensor, scale: tf.Tensor, epsilon: number): [normed: tf.Tensor, inverse: tf.Tensor] {
  const [normed, inverse] = ownKernel("RmsNorm", { x, scale }, { epsilon }) ?? [];
  if (normed !== undefined && inverse !== undefined) return [normed, inverse];
  const r = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
  return [tf.mul(tf.mul(x, r), scale), r];
}

/** Layer normalisation (Ba et al. 2016). x [.., D], times `gain` [D] plus `bias` [D]. */
export function layerNorm<T extends tf.Tensor>(x: T, gain: tf.Tensor, bias: tf.Tensor, epsilon: number): T {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon));
  return tf.add(tf.mul(tf.mul(centred, scale), gain), bias);
}
