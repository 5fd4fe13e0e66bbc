/** What an answer is decoded with: tokens read behind what a cache holds, whether they are a prompt's part or one more token of each row. */
import type { KeyValue } from "./attention.ts";
import type { ModelConfig } from "./config.ts";
import type { Lora, Weights } from "./linear.ts";
import { attendingInPlace, attendingTo, blocks, embed, logitsOf, type WrittenCache } from "./transformer.ts";
import * as tf from "./tfjs.ts";

/** The tokens to read, and where. Any of B, T and C may be a free size (shared/tensor/free_sizes.ts). */
export interface Reading {
  /** int32 [B, T] */
  readonly tokens: tf.Tensor;
  /** int32 [B, T]: each row counts on from the number of positions that its cache holds. */
  readonly positions: tf.Tensor;
  /** int32 [B]: which of the B·T tokens the logits are wanted after; null: all of them, for T = 1. */
  readonly last: tf.Tensor | null;
  /** int32 [1, C]: 0, 1, 2, … */
  readonly slots: tf.Tensor;
  /** Per layer, keys and values [B, K, C, S]; what lies behind a row's filled positions is not looked at. */
  readonly layers: readonly KeyValue[];
}

/**
 * The cache is only read: the new keys and values come back, and the caller writes them into its own arrays, so that a token costs no copy of the cache.
 * @returns logits [B, V], and the tokens' keys and values, all layers in one array [B, K, 2·layers·T, S]: of each layer the keys and then the values
 */
export function extend({ tokens, positions, last, slots, layers }: Reading, weights: Weights, lora: Lora | null, c: ModelConfig): { logits: tf.Tensor2D; own: tf.Tensor } {
  const rows = tokens.shape[0] ?? 1;
  const start = tf.slice(positions, [0, 0], [rows, 1]);
  const visible = tf.greaterEqual(tf.expandDims(positions, 2), tf.expandDims(positions, 1));
  const past = { positions: slots, visible: tf.expandDims(tf.less(slots, start), 1), layers };
  const { hidden, cache } = blocks(embed(tokens, weights, c), attendingTo({ positions, visible, past }, c), weights, lora, c);
  const wanted: tf.Tensor2D = last === null ? hidden : tf.gather(hidden, last);
  return { logits: logitsOf(wanted, weights, c), own: tf.concat(cache.flatMap(({ key, value }) => [key, value]), 2) };
}

/**
 * The same where attention writes the tokens' keys and values into the cache itself.
 * @param tokens int32 [B, T]
 * @param last int32 [B]: which of the B·T tokens the logits are wanted after; null: all of them, for T = 1
 * @returns logits [B, V], and of each layer keys and values [B, K, C, S]: to be written over those that were given
 */
export function append(tokens: tf.Tensor, last: tf.Tensor | null, written: WrittenCache, weights: Weights, lora: Lora | null, c: ModelConfig): { logits: tf.Tensor2D; layers: readonly KeyValue[] } {
  const { hidden, cache } = blocks(embed(tokens, weights, c), attendingInPlace(written, c), weights, lora, c);
  const wanted: tf.Tensor2D = last === null ? hidden : tf.gather(hidden, last);
  return { logits: logitsOf(wanted, weights, c), layers: cache };
}
