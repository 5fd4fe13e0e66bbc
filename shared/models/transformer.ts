/**
 * The decoder-only transformer in tfjs ops: embedding, blocks, head, with LoRA on any projection (Touvron et al. 2023; SwiGLU: Shazeer 2020).
 * Pure functions of tensors: where weights lie and what runs them is not known here. Letters in shapes: B rows, T positions, D hidden size,
 * K key/value heads, S head size, C cache capacity, V vocabulary.
 */
import { additive, attend, causal, toHeads, type KeyValue } from "./attention.ts";
import type { ModelConfig } from "./config.ts";
import { project, weight, type Lora, type Weights } from "./linear.ts";
import { rmsNorm } from "./norm.ts";
import { rotate, rotation } from "./rope.ts";
import * as tf from "./tfjs.ts";

/** Where the tokens stand and what they see. Rows have nothing to do with each other: each has positions and a view of its own. */
export interface View {
  /** int32 [B, T], counted from the beginning of what the token belongs to. */
  readonly positions: tf.Tensor;
  /** bool [B or 1, T, T]: which of the T tokens a token sees, before any sliding window of the model's own. */
  readonly visible: tf.Tensor;
  /** What was computed before: nothing in training, the cache in decoding. */
  readonly past?: Past;
}

export interface Past {
  /** int32 [B or 1, C]: where each key of the cache stands; anything where it is not visible. */
  readonly positions: tf.Tensor;
  /** bool [B or 1, T or 1, C] */
  readonly visible: tf.Tensor;
  /** Per layer, [B, K, C, S]. */
  readonly layers: readonly KeyValue[];
}

/** tokens int32 [B, T] → [B·T, D] */
export function embed(tokens: tf.Tensor, weights: Weights, c: ModelConfig): tf.Tensor2D {
  return tf.reshape(tf.gather(weight(weights, "model.embed_tokens.weight"), tf.reshape(tokens, [-1])), [-1, c.hiddenSize]);
}

/** Runs all blocks. x [B·T, D] → normed hidden states [B·T, D], and each layer's own rotated keys and values [B, K, T, S]. */
export function blocks(embedded: tf.Tensor2D, view: View, weights: Weights, lora: Lora | null, c: ModelConfig): { hidden: tf.Tensor2D; cache: KeyValue[] } {
  const rows = view.positions.shape[0] ?? 1;
  const turn = rotation(view.positions, c);
  const mask = additive(view.visible);
  const pastMask = view.past === undefined ? undefined : additive(view.past.visible);
  let x = embedded;
  const cache: KeyValue[] = [];
  for (let layer = 0; layer < c.layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    const normed = rmsNorm(x, weight(weights, `${prefix}input_layernorm.weight`), c.normEpsilon);
    const linear = (name: string, of: tf.Tensor2D) => project(of, `${prefix}${name}`, weights, lora);
    const query = rotate(toHeads(linear("self_attn.q_proj", normed), rows, c.heads, c.headSize), turn);
    const key = rotate(toHeads(linear("self_attn.k_proj", normed), rows, c.keyValueHeads, c.headSize), turn);
    const value = toHeads(linear("self_attn.v_proj", normed), rows, c.keyValueHeads, c.headSize);
    cache.push({ key, value });
    const own = { key, value, mask };
    const past = view.past?.layers[layer];
    const mixed = attend(query, past === undefined || pastMask === undefined ? [own] : [{ ...past, mask: pastMask }, own], c);
    x = tf.add(x, linear("self_attn.o_proj", mixed));
    const second = rmsNorm(x, weight(weights, `${prefix}post_attention_layernorm.weight`), c.normEpsilon);
    const gate = linear("mlp.gate_proj", second);
    x = tf.add(x, linear("mlp.down_proj", tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear("mlp.up_proj", second))));
  }
  return { hidden: rmsNorm(x, weight(weights, "model.norm.weight"), c.normEpsilon), cache };
}

/** hidden [N, D] → logits [N, V] */
export function logitsOf(hidden: tf.Tensor2D, weights: Weights, c: ModelConfig): tf.Tensor2D {
  const head = weight(weights, c.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight");
  return tf.matMul(hidden, head, false, true);
}

/**
 * Hidden states of packed rows. Tokens of different segments of a row do not see each other.
 * @param tokens int32 [B, T]; @param positions int32 [B, T], counted within a segment; @param segments int32 [B, T], 0 = padding
 * @returns [B·T, D]
 */
export function hiddenStates(tokens: tf.Tensor, positions: tf.Tensor, segments: tf.Tensor, weights: Weights, lora: Lora | null, c: ModelConfig): tf.Tensor2D {
  const same = tf.equal(tf.expandDims(segments, 2), tf.expandDims(segments, 1));
  const visible = tf.logicalAnd(same, causal(tokens.shape[1] ?? 1));
  return blocks(embed(tokens, weights, c), { positions, visible }, weights, lora, c).hidden;
}
