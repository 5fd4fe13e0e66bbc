/**
 * Linear layers with the adapter that may lie on them (LoRA: Hu et al. 2021), and the types of what a model is made of. Pure functions of tensors:
 * where weights lie and what runs them is not known here.
 */
import { drop, keptScale, type Dropout } from "./dropout.ts";
import { quantisedProduct } from "./quantised_product.ts";
import * as tf from "./tfjs.ts";

/** Weights by Hugging Face name. */
export type Weights = Readonly<Record<string, tf.Tensor>>;
/**
 * Adapter tensors by projection (`model.layers.0.self_attn.q_proj`): A [r, in], B [out, r]; what a projection adds is `scale · B A x`.
 * With A [B, r, in] and B transposed, [B, r, out], each of B rows has an adapter of its own.
 */
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
  return adapted(frozen(x, name, weights), x, name, lora);
}

/** A projection's own product, and what its adapter adds to it. */
function adapted(plain: tf.Tensor2D, x: tf.Tensor2D, name: string, lora: Lora | null): tf.Tensor2D {
  const adapter = lora?.modules[name];
  if (lora === null || adapter === undefined) return plain;
  if (adapter.A.rank === 3) return tf.add(plain, tf.mul(byRows(x, adapter.A, adapter.B), lora.scale));
  const { dropout } = lora;
  const low: tf.Tensor2D = tf.matMul(dropout === undefined ? x : drop(x, name, dropout), adapter.A, false, true);
  return withShare(plain, low, adapter.B, dropout === undefined ? lora.scale : lora.scale * keptScale(dropout.share));
}

/**
 * Several projections of the same x: of one product where the weights lie as one, under the name `whole`. Their A are one matrix in training, too: one
 * product instead of several thin ones, forwards and twice backwards. Dropout gives each projection an x of its own, so that it can't be done with it.
 * @param parts name and number of outputs of each, in the order in which the outputs of the whole lie
 */
export function projectAll(x: tf.Tensor2D, whole: string, parts: Parts, weights: Weights, lora: Lora | null): tf.Tensor2D[] {
  const joint = lora?.modules[whole];
  if (lora !== null && joint !== undefined) {
    const adaptedParts = withJointShare(x, whole, parts, weights, tf.mul(byRows(x, joint.A, joint.B), lora.scale));
    return adaptedParts.map((part, at) => adapted(part, x, parts[at]?.[0] ?? "", lora)); // other rows' adapters may lie on one of them alone
  }
  const plain = frozenParts(x, whole, parts, weights);
  const adapters = parts.map(([name]) => lora?.modules[name]);
  const present = adapters.filter((adapter) => adapter !== undefined);
  if (lora === null || lora.dropout !== undefined || present.length < 2 || present.some(({ A }) => A.rank === 3)) return parts.map(([name], at) => adapted(plain[at] ?? frozen(x, name, weights), x, name, lora));
  const low: tf.Tensor2D = tf.matMul(x, tf.concat(present.map(({ A }) => A)), false, true);
  const shares: tf.Tensor2D[] = tf.split(low, present.map(({ A }) => A.shape[0] ?? 0), -1);
  const rest = shares.values();
  return parts.map(([name], at) => {
    const alone = plain[at] ?? frozen(x, name, weights);
    const adapter = adapters[at];
    const part: tf.Tensor2D | undefined = adapter === undefined ? undefined : rest.next().value;
    return adapter === undefined || part === undefined ? alone : withShare(alone, part, adapter.B, lora.scale);
  });
}

type Parts = readonly (readonly [name: string, outputs: number])[];

/** Nothing where the weights do not lie as one. */
function frozenParts(x: tf.Tensor2D, whole: string, parts: Parts, weights: Weights): tf.Tensor2D[] {
  const product = quantisedProduct(x, `${whole}.weight`, weights);
  return product === null ? [] : cut(product, parts).map((part, at) => withBias(part, parts[at]?.[0] ?? "", weights));
}

/** @param share what an adapter on all parts adds, [N, sum of outputs]: added before the product is cut, where there is one */
function withJointShare(x: tf.Tensor2D, whole: string, parts: Parts, weights: Weights, share: tf.Tensor2D): tf.Tensor2D[] {
  const product = quantisedProduct(x, `${whole}.weight`, weights);
  const shares = cut(product === null ? share : tf.add(product, share), parts);
  return shares.map((part, at) => {
    const name = parts[at]?.[0] ?? "";
    return product === null ? tf.add(frozen(x, name, weights), part) : withBias(part, name, weights);
  });
}

const cut = (whole: tf.Tensor2D, parts: Parts): tf.Tensor2D[] => tf.split(whole, parts.map(([, outputs]) => outputs), -1);

/** The scale is put on the thin product: on the wide one it would cost as much as the product. */
function withShare(plain: tf.Tensor2D, low: tf.Tensor2D, B: tf.Tensor, scale: number): tf.Tensor2D {
  return tf.add(plain, tf.matMul(scale === 1 ? low : tf.mul(low, scale), B as tf.Tensor2D, false, true));
}

function frozen(x: tf.Tensor2D, name: string, weights: Weights): tf.Tensor2D {
  return withBias(quantisedProduct(x, `${name}.weight`, weights) ?? tf.matMul(x, weight(weights, `${name}.weight`), false, true), name, weights);
}

function withBias(product: tf.Tensor2D, name: string, weights: Weights): tf.Tensor2D {
  const bias = weights[`${name}.bias`];
  return bias === undefined ? product : tf.add(product, bias);
}

/** x [B·T, in], A [B, r, in], B [B, r, out] → [B·T, out] */
function byRows(x: tf.Tensor2D, A: tf.Tensor, B: tf.Tensor): tf.Tensor2D {
  const [rows = 1, , inputs = 1] = A.shape;
  const low = tf.matMul(tf.reshape(x, [rows, -1, inputs]), A, false, true);
  return tf.reshape(tf.matMul(low, B), [x.shape[0], -1]);
}
