/** Reading a prompt, and one token more: the two functions that an answer is decoded with. */
import { causal, type KeyValue } from "./attention.ts";
import type { ModelConfig } from "./config.ts";
import type { Lora, Weights } from "./linear.ts";
import { blocks, embed, logitsOf } from "./transformer.ts";
import * as tf from "./tfjs.ts";

/**
 * Reads a prompt. @param tokens int32 [1, T], padded behind; @param last int32 [1], the index of the last real token
 * @returns logits [1, V] after the last real token, and each layer's keys and values [1, K, T, S]; those of the padding are to be ignored
 */
export function prefill(tokens: tf.Tensor, last: tf.Tensor, weights: Weights, lora: Lora | null, c: ModelConfig): { logits: tf.Tensor2D; cache: KeyValue[] } {
  const length = tokens.shape[1] ?? 1;
  const positions = tf.reshape(tf.range(0, length, 1, "int32"), [1, length]);
  const { hidden, cache } = blocks(embed(tokens, weights, c), { positions, visible: causal(length) }, weights, lora, c);
  return { logits: logitsOf(tf.gather(hidden, last), weights, c), cache };
}

/**
 * One token more. The cache is only read: the new keys and values come back, and the caller writes them into its own arrays, so that a
 * token costs no copy of the cache.
 * @param token int32 [1, 1]; @param position int32 [1, 1] = how many positions of the cache are filled
 * @param layers per layer, keys and values [1, K, C, S]
 */
export function decode(token: tf.Tensor, position: tf.Tensor, layers: readonly KeyValue[], weights: Weights, lora: Lora | null, c: ModelConfig): { logits: tf.Tensor2D; cache: KeyValue[] } {
  const capacity = layers[0]?.key.shape[2] ?? 0;
  const slots = tf.reshape(tf.range(0, capacity, 1, "int32"), [1, capacity]);
  const visible = tf.expandDims(tf.less(slots, position), 1);
  const view = { positions: position, visible: causal(1), past: { positions: slots, visible, layers } };
  const { hidden, cache } = blocks(embed(token, weights, c), view, weights, lora, c);
  return { logits: logitsOf(hidden, weights, c), cache };
}
