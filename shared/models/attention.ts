/**
 * Grouped-query attention (Ainslie et al. 2023) over one or more runs of keys: a block's own, and in decoding those of the cache.
 * Letters in shapes: B rows, T positions, H heads, K key/value heads, G = H / K, S head size, T' keys of a run.
 */
import { softCap } from "./activation.ts";
import { causalAttention } from "./causal_attention.ts";
import type { ModelConfig } from "./config.ts";
import * as tf from "./tfjs.ts";

export interface KeyValue {
  /** Rotated keys, [B, K, T', S]. */
  readonly key: tf.Tensor;
  readonly value: tf.Tensor;
}

/** A run of keys with what is added to its scores. */
export interface Attended extends KeyValue {
  /** [B or 1, 1, T or 1, T'], see `additive`. */
  readonly mask: tf.Tensor;
  /** The keys are those of the queries' own tokens, and none sees what stands behind it. */
  readonly causal?: boolean;
}

const forbidden = -1e9;

/** @param visible bool [B or 1, T or 1, T']: which keys a query sees → what is added to the scores, [B or 1, 1, T or 1, T'] */
export function additive(visible: tf.Tensor): tf.Tensor {
  return tf.expandDims(tf.where(visible, tf.zeros(visible.shape), tf.fill(visible.shape, forbidden)), 1);
}

/** @param queries int32 [B, T]; @param keys int32 [B or 1, T'] → bool [B, T, T']: which keys stand less than `window` positions before the query */
export function within(window: number, queries: tf.Tensor, keys: tf.Tensor): tf.Tensor {
  return tf.less(tf.sub(tf.expandDims(queries, 2), tf.expandDims(keys, 1)), tf.scalar(window, "int32"));
}

/** A query sees what stands before it and itself. → bool [1, T, T] */
export function causal(length: number): tf.Tensor {
  const order = tf.range(0, length, 1, "int32");
  return tf.expandDims(tf.greaterEqual(tf.expandDims(order, 1), tf.expandDims(order, 0)), 0);
}

/** [B·T, heads·S] → [B, heads, T, S] */
export function toHeads(x: tf.Tensor2D, rows: number, heads: number, size: number): tf.Tensor4D {
  if (x.shape[0] === rows) return tf.reshape(x, [rows, heads, 1, size]); // one token each: nothing moves
  return tf.transpose(tf.reshape(x, [rows, -1, heads, size]), [0, 2, 1, 3]);
}

/** q [B, H, T, S] over runs of keys → [B·T, H·S]. The G query heads of a group are stacked along T, so that keys and values are never repeated in memory. */
export function attend(q: tf.Tensor4D, runs: readonly Attended[], c: ModelConfig): tf.Tensor2D {
  const [rows, , length] = q.shape;
  const [only] = runs;
  if (runs.length === 1 && only?.causal === true && c.scoreCap === null) {
    return flat(causalAttention(q, only.key as tf.Tensor4D, only.value as tf.Tensor4D, only.mask, c.scoreScale));
  }
  if (length === 1) return attendOne(q, runs, c);
  const group = c.heads / c.keyValueHeads;
  const stacked = tf.reshape(tf.mul(q, c.scoreScale), [rows, c.keyValueHeads, group * length, c.headSize]);
  const scores = runs.map(({ key, mask }) => {
    const products = softCap(tf.matMul(stacked, key, false, true), c.scoreCap);
    const there = key.shape[2] ?? 0;
    return tf.add(tf.reshape(products, [rows, c.heads, length, there]), mask);
  });
  const shares = tf.softmax(scores.length === 1 && scores[0] !== undefined ? scores[0] : tf.concat(scores, -1));
  const parts = runs.length === 1 ? [shares] : tf.split(shares, runs.map(({ key }) => key.shape[2] ?? 0), -1);
  const mixed = runs.map(({ value }, at) => {
    const there = value.shape[2] ?? 0;
    const share = parts[at];
    if (share === undefined) throw new RangeError("attention lost a run of keys");
    const weighing: tf.Tensor4D = tf.reshape(share, [rows, c.keyValueHeads, group * length, there]);
    return tf.matMul(weighing, value);
  });
  const sum = mixed.reduce((total, part) => tf.add(total, part));
  return flat(tf.reshape(sum, [rows, c.heads, length, c.headSize]));
}

/**
 * The same of one token a row, in as few operators as there can be: each costs more than what it computes. A run of one key is the token's own, which
 * it always sees.
 */
function attendOne(q: tf.Tensor4D, runs: readonly Attended[], c: ModelConfig): tf.Tensor2D {
  const [rows] = q.shape;
  const group = c.heads / c.keyValueHeads;
  const query: tf.Tensor4D = tf.mul(tf.reshape(q, [rows, c.keyValueHeads, group, c.headSize]), c.scoreScale);
  const scores = runs.map(({ key, mask }) =>
    key.shape[2] === 1 ? softCap(tf.sum(tf.mul(query, key), -1, true), c.scoreCap) : tf.add(softCap(tf.matMul(query, key, false, true), c.scoreCap), mask),
  );
  const shares = tf.softmax(scores.length === 1 && scores[0] !== undefined ? scores[0] : tf.concat(scores, -1));
  const parts = runs.length === 1 ? [shares] : tf.split(shares, runs.map(({ key }) => key.shape[2] ?? 0), -1);
  const mixed = runs.map(({ key, value }, at): tf.Tensor => {
    const share = parts[at];
    if (share === undefined) throw new RangeError("attention lost a run of keys");
    return key.shape[2] === 1 ? tf.mul(share, value) : tf.matMul(share, value);
  });
  return tf.reshape(mixed.reduce((total, part) => tf.add(total, part)), [rows, c.heads * c.headSize]);
}

/** [B, H, T, S] → [B·T, H·S] */
function flat(x: tf.Tensor4D): tf.Tensor2D {
  const [rows, heads, length, size] = x.shape;
  return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [rows * length, heads * size]);
}
