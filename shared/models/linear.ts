/**
 * Linear layers with the adapter that may lie on them (LoRA: Hu et al. 2021), and the types of what a model is made of. Pure functions of tensors:
 * where weights lie and what runs them is not known here.
 */
import { drop, keptScale, type Dropout } from "./dropout.ts";
import * as tf from "./tfjs.ts";

/** Weights by Hugging Face name. */
export type Weights = Readonly<Record<string, tf.Tensor>>;
/** Adapter tensors by projection (`model.layers.0.self_attn.q_proj`): A [r, in], B [out, r]; what a projection adds is `scale · B A x`. */
export interface Lora {
  readonly scale: number;
  readonly modules: Readonly<Record<string, { readonly A: tf.Tensor; readonly B: tf.Tensor } | undefined>>;
  /** In training only: on what goes into A. */
  readonly dropout?: Dropout;
}

/** @throws RangeError when the model has no tensor of that name */
export function weight(weights: Weights, name: string): tf.Tensor {
  const found = weights[name];
  if (found === undefined) throw new RangeError(`the model has no tensor ${name}`);
  return found;
}

/** x [N, in] → [N, out] by the projection `name`, its bias included where there is one, plus its adapter's share. */
export function project(x: tf.Tensor2D, name: string, weights: Weights, lora: Lora | null): tf.Tensor2D {
  const product: tf.Tensor2D = tf.matMul(x, weight(weights, `${name}.weight`), false, true);
  const bias = weights[`${name}.bias`];
  const plain: tf.Tensor2D = bias === undefined ? product : tf.add(product, bias);
  const adapter = lora?.modules[name];
  if (lora === null || adapter === undefined) return plain;
  const { dropout } = lora;
  const low: tf.Tensor2D = tf.matMul(dropout === undefined ? x : drop(x, name, dropout), adapter.A, false, true);
  const added: tf.Tensor2D = tf.matMul(low, adapter.B, false, true);
  return tf.add(plain, tf.mul(added, dropout === undefined ? lora.scale : lora.scale * keptScale(dropout.share)));
}
