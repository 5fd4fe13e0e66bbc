/**
 * The Llama architecture in tfjs ops: RMSNorm, rotary embedding, grouped-query attention, SwiGLU, with LoRA on any projection.
 * (Touvron et al. 2023; Zhang & Sennrich 2019; Su et al. 2021; Ainslie et al. 2023; Shazeer 2020; Hu et al. 2021.)
 * Pure functions of tensors: where weights lie and what runs them is not known here. Letters in shapes: B rows, T positions, D hidden size,
 * H heads, K key/value heads, G = H / K, S head size, C cache capacity, V vocabulary, r rank.
 */
import type { LlamaConfig } from "./config.ts";
import * as tf from "./tfjs.ts";

/** Weights by Hugging Face name. */
export type Weights = Readonly<Record<string, tf.Tensor>>;
/** Adapter tensors by projection (`model.layers.0.self_attn.q_proj`): A [r, in], B [out, r]; what a projection adds is `scale · B A x`. */
export interface Lora {
  readonly scale: number;
  readonly modules: Readonly<Record<string, { readonly A: tf.Tensor; readonly B: tf.Tensor } | undefined>>;
}

export interface KeyValue {
  readonly key: tf.Tensor;
  readonly value: tf.Tensor;
}

const forbidden = -1e9;

function weight(weights: Weights, name: string): tf.Tensor {
  const found = weights[name];
  if (found === undefined) throw new RangeError(`the model has no tensor ${name}`);
  return found;
}

/** x [N, in] → [N, out] by the projection `name`, plus its adapter's share. */
function project(x: tf.Tensor2D, name: string, weights: Weights, lora: Lora | null): tf.Tensor2D {
  const plain: tf.Tensor2D = tf.matMul(x, weight(weights, `${name}.weight`), false, true);
  const adapter = lora?.modules[name];
  if (lora === null || adapter === undefined) return plain;
  const low: tf.Tensor2D = tf.matMul(x, adapter.A, false, true);
  const added: tf.Tensor2D = tf.matMul(low, adapter.B, false, true);
  return tf.add(plain, tf.mul(added, lora.scale));
}

function rmsNorm(x: tf.Tensor2D, gain: tf.Tensor, epsilon: number): tf.Tensor2D {
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
  return tf.mul(tf.mul(x, scale), gain);
}

interface Rotation {
  /** [.., T, S], broadcast over heads. */
  readonly cos: tf.Tensor;
  readonly sin: tf.Tensor;
}

/** @param positions float32 [B, T] → cos and sin [B, 1, T, S], in the layout that rotates the two halves of a head against each other */
function rotation(positions: tf.Tensor, c: LlamaConfig): Rotation {
  const half = c.headSize / 2;
  const frequencies = tf.tensor1d(Float32Array.from({ length: half }, (_, at) => c.ropeTheta ** (-at / half)));
  const angles = tf.mul(tf.expandDims(tf.expandDims(positions, 1), -1), frequencies);
  const both = tf.concat([angles, angles], -1);
  return { cos: tf.cos(both), sin: tf.sin(both) };
}

function rotate(x: tf.Tensor4D, { cos, sin }: Rotation): tf.Tensor4D {
  const [first, second] = tf.split(x, 2, -1);
  if (first === undefined || second === undefined) throw new RangeError("a head could not be split");
  return tf.add(tf.mul(x, cos), tf.mul(tf.concat([tf.neg(second), first], -1), sin));
}

/** [B·T, heads·S] → [B, heads, T, S] */
function toHeads(x: tf.Tensor2D, rows: number, heads: number, size: number): tf.Tensor4D {
  return tf.transpose(tf.reshape(x, [rows, -1, heads, size]), [0, 2, 1, 3]);
}

/**
 * Attention of q [B, H, T, S] over keys and values [B, K, T', S]; `mask` [B, 1, 1, T, T'] is added to the scores. The G query heads of a group are
 * stacked along T, so that keys and values are never repeated in memory. → [B·T, H·S]
 */
function attend(q: tf.Tensor4D, blocks: readonly { key: tf.Tensor; value: tf.Tensor; mask: tf.Tensor }[], c: LlamaConfig): tf.Tensor2D {
  const [rows, , length] = q.shape;
  const group = c.heads / c.keyValueHeads;
  const stacked = tf.reshape(tf.mul(q, 1 / Math.sqrt(c.headSize)), [rows, c.keyValueHeads, group * length, c.headSize]);
  const scores = blocks.map(({ key, mask }) => {
    const products = tf.matMul(stacked, key, false, true);
    const there = key.shape[2] ?? 0;
    return tf.add(tf.reshape(products, [rows, c.keyValueHeads, group, length, there]), mask);
  });
  const shares = tf.softmax(scores.length === 1 && scores[0] !== undefined ? scores[0] : tf.concat(scores, -1));
  const parts = blocks.length === 1 ? [shares] : tf.split(shares, blocks.map(({ key }) => key.shape[2] ?? 0), -1);
  const mixed = blocks.map(({ value }, at) => {
    const there = value.shape[2] ?? 0;
    const share = parts[at];
    if (share === undefined) throw new RangeError("attention lost a block");
    const weighing: tf.Tensor4D = tf.reshape(share, [rows, c.keyValueHeads, group * length, there]);
    return tf.matMul(weighing, value);
  });
  const sum = mixed.reduce((total, part) => tf.add(total, part));
  return tf.reshape(tf.transpose(tf.reshape(sum, [rows, c.heads, length, c.headSize]), [0, 2, 1, 3]), [rows * length, c.heads * c.headSize]);
}

/** What a block attends to besides its own keys and values: nothing in training, the cache in decoding. */
interface Attention {
  readonly rows: number;
  readonly rotation: Rotation;
  /** Additive, for the block's own keys: [B or 1, 1, 1, T, T]. */
  readonly mask: tf.Tensor;
  /** Per layer, keys and values of earlier positions [B, K, C, S] with their additive mask [B or 1, 1, 1, 1, C]. */
  readonly past?: { readonly mask: tf.Tensor; readonly layers: readonly KeyValue[] };
}

/** Runs all blocks. x [B·T, D] → normed hidden states [B·T, D], and each layer's rotated keys and values [B, K, T, S]. */
function blocks(embedded: tf.Tensor2D, attention: Attention, weights: Weights, lora: Lora | null, c: LlamaConfig): { hidden: tf.Tensor2D; cache: KeyValue[] } {
  let x = embedded;
  const cache: KeyValue[] = [];
  for (let layer = 0; layer < c.layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    const normed = rmsNorm(x, weight(weights, `${prefix}input_layernorm.weight`), c.normEpsilon);
    const linear = (name: string, of: tf.Tensor2D) => project(of, `${prefix}${name}`, weights, lora);
    const query = rotate(toHeads(linear("self_attn.q_proj", normed), attention.rows, c.heads, c.headSize), attention.rotation);
    const key = rotate(toHeads(linear("self_attn.k_proj", normed), attention.rows, c.keyValueHeads, c.headSize), attention.rotation);
    const value = toHeads(linear("self_attn.v_proj", normed), attention.rows, c.keyValueHeads, c.headSize);
    cache.push({ key, value });
    const own = { key, value, mask: attention.mask };
    const past = attention.past?.layers[layer];
    const mixed = attend(query, past === undefined || attention.past === undefined ? [own] : [{ ...past, mask: attention.past.mask }, own], c);
    x = tf.add(x, linear("self_attn.o_proj", mixed));
    const second = rmsNorm(x, weight(weights, `${prefix}post_attention_layernorm.weight`), c.normEpsilon);
    const gate = linear("mlp.gate_proj", second);
    x = tf.add(x, linear("mlp.down_proj", tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear("mlp.up_proj", second))));
  }
  return { hidden: rmsNorm(x, weight(weights, "model.norm.weight"), c.normEpsilon), cache };
}

function embed(tokens: tf.Tensor, weights: Weights, c: LlamaConfig): tf.Tensor2D {
  return tf.reshape(tf.gather(weight(weights, "model.embed_tokens.weight"), tf.reshape(tokens, [-1])), [-1, c.hiddenSize]);
}

/** hidden [N, D] → logits [N, V] */
export function logitsOf(hidden: tf.Tensor2D, weights: Weights, c: LlamaConfig): tf.Tensor2D {
  const head = weight(weights, c.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight");
  return tf.matMul(hidden, head, false, true);
}

/**
 * Hidden states of packed rows. Tokens of different segments of a row do not see each other.
 * @param tokens int32 [B, T]; @param positions int32 [B, T], counted within a segment; @param segments int32 [B, T], 0 = padding
 * @returns [B·T, D]
 */
export function hiddenStates(tokens: tf.Tensor, positions: tf.Tensor, segments: tf.Tensor, weights: Weights, lora: Lora | null, c: LlamaConfig): tf.Tensor2D {
  const [rows = 1, length = 1] = tokens.shape;
  const same = tf.equal(tf.expandDims(segments, 2), tf.expandDims(segments, 1));
  const order = tf.range(0, length, 1, "int32");
  const causal = tf.greaterEqual(tf.expandDims(order, 1), tf.expandDims(order, 0));
  const mask = tf.where(tf.logicalAnd(same, tf.expandDims(causal, 0)), tf.zerosLike(tf.cast(same, "float32")), tf.fill(same.shape, forbidden));
  const attention: Attention = { rows, rotation: rotation(tf.cast(positions, "float32"), c), mask: tf.reshape(mask, [rows, 1, 1, length, length]) };
  return blocks(embed(tokens, weights, c), attention, weights, lora, c).hidden;
}

/**
 * Reads a prompt. @param tokens int32 [1, T], padded behind; @param last int32 [1], the index of the last real token
 * @returns logits [1, V] after the last real token, and each layer's keys and values [1, K, T, S]; those of the padding are to be ignored
 */
export function prefill(tokens: tf.Tensor, last: tf.Tensor, weights: Weights, lora: Lora | null, c: LlamaConfig): { logits: tf.Tensor2D; cache: KeyValue[] } {
  const length = tokens.shape[1] ?? 1;
  const order = tf.range(0, length, 1, "int32");
  const causal = tf.greaterEqual(tf.expandDims(order, 1), tf.expandDims(order, 0));
  const mask = tf.reshape(tf.where(causal, tf.zeros([length, length]), tf.fill([length, length], forbidden)), [1, 1, 1, length, length]);
  const positions = tf.reshape(tf.cast(order, "float32"), [1, length]);
  const { hidden, cache } = blocks(embed(tokens, weights, c), { rows: 1, rotation: rotation(positions, c), mask }, weights, lora, c);
  return { logits: logitsOf(tf.gather(hidden, last), weights, c), cache };
}

/**
 * One token more. The cache is only read: the new keys and values come back, and the caller writes them into its own arrays, so that a
 * token costs no copy of the cache.
 * @param token int32 [1, 1]; @param position int32 [1, 1] = how many positions of the cache are filled
 * @param past per layer, keys and values [1, K, C, S]
 */
export function decode(token: tf.Tensor, position: tf.Tensor, past: readonly KeyValue[], weights: Weights, lora: Lora | null, c: LlamaConfig): { logits: tf.Tensor2D; cache: KeyValue[] } {
  const capacity = past[0]?.key.shape[2] ?? 0;
  const filled = tf.less(tf.range(0, capacity, 1, "int32"), tf.reshape(position, [1]));
  const pastMask = tf.reshape(tf.where(filled, tf.zeros([capacity]), tf.fill([capacity], forbidden)), [1, 1, 1, 1, capacity]);
  const attention: Attention = { rows: 1, rotation: rotation(tf.cast(position, "float32"), c), mask: tf.zeros([1, 1, 1, 1, 1]), past: { mask: pastMask, layers: past } };
  const { hidden, cache } = blocks(embed(token, weights, c), attention, weights, lora, c);
  return { logits: logitsOf(hidden, weights, c), cache };
}
