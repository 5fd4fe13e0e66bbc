/**
 * The BERT encoder in tfjs ops (Devlin et al. 2019), and how its states become one vector per text (Reimers & Gurevych 2019). Pure functions of tensors.
 * Letters in shapes: B rows, T positions, D hidden size, H heads, S head size.
 */
import { gelu, geluTanh } from "./activation.ts";
import { additive, toHeads } from "./attention.ts";
import type { BertConfig, Pooling } from "./bert_config.ts";
import { project, weight, type Weights } from "./linear.ts";
import { layerNorm } from "./norm.ts";
import * as tf from "./tfjs.ts";

/** @param tokens int32 [B, T], padded behind; @param lengths int32 [B], how many tokens are real; → states [B, T, D]; those of the padding are to be ignored */
export function encode(tokens: tf.Tensor, lengths: tf.Tensor, weights: Weights, c: BertConfig): tf.Tensor3D {
  const [rows = 1, length = 1] = tokens.shape;
  const norm = (x: tf.Tensor2D, name: string) => layerNorm(x, weight(weights, `${name}.weight`), weight(weights, `${name}.bias`), c.normEpsilon);
  const add = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor2D => tf.add(a, b);
  const words = tf.reshape(tf.gather(weight(weights, "embeddings.word_embeddings.weight"), tf.reshape(tokens, [-1])), [rows, length, c.hiddenSize]);
  const positions = tf.slice(weight(weights, "embeddings.position_embeddings.weight"), [0, 0], [length, -1]);
  const type = tf.slice(weight(weights, "embeddings.token_type_embeddings.weight"), [0, 0], [1, -1]);
  const embedded: tf.Tensor2D = tf.reshape(tf.add(tf.add(words, positions), type), [-1, c.hiddenSize]);
  const mask = additive(tf.expandDims(real(lengths, length), 1));
  const size = c.hiddenSize / c.heads;
  let x = norm(embedded, "embeddings.LayerNorm");
  for (let layer = 0; layer < c.layers; layer++) {
    const prefix = `encoder.layer.${layer}`;
    const linear = (name: string, of: tf.Tensor2D) => project(of, `${prefix}.${name}`, weights, null);
    const heads = (part: string) => toHeads(linear(`attention.self.${part}`, x), rows, c.heads, size);
    const scores = tf.matMul(tf.mul(heads("query"), 1 / Math.sqrt(size)), heads("key"), false, true);
    const mixed = tf.matMul(tf.softmax(tf.add(scores, mask)), heads("value"));
    const joined: tf.Tensor2D = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [rows * length, c.hiddenSize]);
    const attended = norm(add(linear("attention.output.dense", joined), x), `${prefix}.attention.output.LayerNorm`);
    const inner = (c.activation === "gelu" ? gelu : geluTanh)(linear("intermediate.dense", attended));
    x = norm(add(linear("output.dense", inner), attended), `${prefix}.output.LayerNorm`);
  }
  return tf.reshape(x, [rows, length, c.hiddenSize]);
}

/** → bool [B, T] */
const real = (lengths: tf.Tensor, length: number) => tf.less(tf.expandDims(tf.range(0, length, 1, "int32"), 0), tf.expandDims(lengths, 1));

/** states [B, T, D] → [B, D] */
export function pool(states: tf.Tensor3D, lengths: tf.Tensor, { mode, normalise }: Pooling): tf.Tensor2D {
  const [rows, length, size] = states.shape;
  const pooled: tf.Tensor2D = mode === "cls" ? tf.reshape(tf.slice(states, [0, 0, 0], [rows, 1, size]), [rows, size]) : mean(states, lengths, length);
  if (!normalise) return pooled;
  // The same floor as torch.nn.functional.normalize.
  return tf.div(pooled, tf.maximum(tf.sqrt(tf.sum(tf.square(pooled), 1, true)), 1e-12));
}

function mean(states: tf.Tensor3D, lengths: tf.Tensor, length: number): tf.Tensor2D {
  const counted = tf.where(tf.expandDims(real(lengths, length), 2), states, tf.zerosLike(states));
  return tf.div(tf.sum(counted, 1), tf.expandDims(tf.cast(lengths, "float32"), 1));
}
