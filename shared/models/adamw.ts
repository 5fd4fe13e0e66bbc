/** AdamW (Loshchilov & Hutter 2019) with clipping by the global norm, as PyTorch computes it: one pure step in tfjs ops. */
import * as tf from "./tfjs.ts";

export interface AdamWSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled; applied to matrices only, as is the custom: gains and biases have nothing to be pulled towards. */
  readonly weightDecay: number;
  /** Gradients longer than this are scaled down to it; 0 = never. */
  readonly clipNorm: number;
}

export const adamWDefaults: AdamWSettings = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 1 };

export interface AdamWState {
  readonly parameters: readonly tf.Tensor[];
  readonly first: readonly tf.Tensor[];
  readonly second: readonly tf.Tensor[];
  /** Which parameters the weight decay is for; default: those with more than one axis. A flat vector of many matrices has to say so. */
  readonly decays?: readonly boolean[];
}

/**
 * @param learningRate scalar; @param step scalar float32, 1 for the first step
 * @returns the new state, and the gradients' global norm before clipping
 */
export function adamW(state: AdamWState, gradients: readonly tf.Tensor[], learningRate: tf.Tensor, step: tf.Tensor, s: AdamWSettings): AdamWState & { norm: tf.Tensor } {
  const squares = gradients.map((gradient) => tf.sum(tf.square(gradient)));
  const norm = tf.sqrt(tf.addN(squares));
  const scale = s.clipNorm > 0 ? tf.minimum(tf.div(s.clipNorm, tf.add(norm, 1e-6)), 1) : tf.scalar(1);
  const correction1 = tf.sub(1, tf.pow(tf.scalar(s.beta1), step));
  const correction2 = tf.sub(1, tf.pow(tf.scalar(s.beta2), step));
  const parameters: tf.Tensor[] = [];
  const first: tf.Tensor[] = [];
  const second: tf.Tensor[] = [];
  state.parameters.forEach((parameter, at) => {
    const [gradient, oldFirst, oldSecond] = [gradients[at], state.first[at], state.second[at]];
    if (gradient === undefined || oldFirst === undefined || oldSecond === undefined) throw new RangeError(`parameter ${at} has no gradient or state`);
    const clipped = tf.mul(gradient, scale);
    const m = tf.add(tf.mul(oldFirst, s.beta1), tf.mul(clipped, 1 - s.beta1));
    const v = tf.add(tf.mul(oldSecond, s.beta2), tf.mul(tf.square(clipped), 1 - s.beta2));
    const update = tf.div(tf.div(m, correction1), tf.add(tf.sqrt(tf.div(v, correction2)), s.epsilon));
    const decayed = s.weightDecay > 0 && (state.decays?.[at] ?? parameter.rank > 1) ? tf.sub(parameter, tf.mul(tf.mul(parameter, s.weightDecay), learningRate)) : parameter;
    parameters.push(tf.sub(decayed, tf.mul(update, learningRate)));
    first.push(m);
    second.push(v);
  });
  return { parameters, first, second, norm };
}
