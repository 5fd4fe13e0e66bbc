/**
 * How a graph deals with the keys and values of what was read before: a row of functions each. `handing`: it only reads the cache and hands the new ones over, which
 * runs anywhere. `writing`: attention writes them where they belong, on devices and for heads that can (kernels/fused.ts, CachedAttention). Both say what
 * the graph takes besides adapters, and what it gives; who runs it is the decoder.
 */
import type { KeyValue } from "../models/attention.ts";
import type { LayerKind, ModelConfig } from "../models/config.ts";
import { append, extend } from "../models/decode.ts";
import type { Lora, Weights } from "../models/linear.ts";
import * as tf from "../models/tfjs.ts";
import type { InputSpec } from "../tensor/compile.ts";

/** Pieces of prompts; a token of each row; the same where there are many and the weights lie there in a layout for many. */
export type Kind = "read" | "decode" | "batch";

/** Rows B, tokens of each T, the cache's positions C, and those of tables of angles P. */
export interface Sizes {
  readonly rows: number;
  readonly length: number;
  readonly capacity: number;
  readonly positions: number;
}

export interface CacheUse {
  specs(kind: Kind, sizes: Sizes, c: ModelConfig): InputSpec[];
  /** @returns logits [B, V]; but for `read`, the likeliest token of each row, of equal ones the first, int32 [B, 1], and its logit [B, 1]; then keys and values */
  build(kind: Kind, inputs: readonly tf.Tensor[], weights: Weights, lora: Lora | null, c: ModelConfig): tf.Tensor[];
  /** By output the input that it is written over. */
  inPlace(kind: Kind, c: ModelConfig): ReadonlyMap<number, number> | undefined;
}

/** Of the outputs, by index: keys and values stand behind these, or at once behind the logits in `read`. */
export const outputs = { logits: 0, likeliest: 1, logit: 2 } as const;
export const firstCache = (kind: Kind) => (kind === "read" ? 1 : 3);

/** The kinds of a model's layers, in the order in which the graphs take their tables of angles. */
export const kindsOf = ({ layerKinds }: Pick<ModelConfig, "layerKinds">): readonly LayerKind[] => [...new Set(layerKinds)].sort();

const ints = (...shape: number[]): InputSpec => ({ shape, dtype: "int32" });
const floats = (...shape: number[]): InputSpec => ({ shape, dtype: "float32" });
const caches = ({ rows, capacity }: Sizes, { layers, keyValueHeads, headSize }: ModelConfig) => Array.from({ length: 2 * layers }, () => floats(rows, keyValueHeads, capacity, headSize));

/** Tokens [B, T], positions [B, T], for `read` where in B·T the last token of each row is [B], slots [1, C], the caches → keys and values as models/decode.ts has them. */
export const handing: CacheUse = {
  specs: (kind, sizes, c) => [ints(sizes.rows, sizes.length), ints(sizes.rows, sizes.length), ...(kind === "read" ? [ints(sizes.rows)] : []), ints(1, sizes.capacity), ...caches(sizes, c)],
  build(kind, inputs, weights, lora, c) {
    const [tokens, positions, ...behind] = inputs;
    const last = kind === "read" ? behind.shift() : null;
    const [slots, ...rest] = behind;
    if (tokens === undefined || positions === undefined || last === undefined || slots === undefined) throw new RangeError("decoding was traced with too few inputs");
    const { logits, own } = extend({ tokens, positions, last, slots, layers: keyValues(rest) }, weights, lora, c);
    return [...answers(kind, logits), own];
  },
  inPlace: () => undefined,
};

/** Tokens [B, T], the position of each row's last token [B], the largest of them and one [1], for `read` as above, cosines and sines of each kind of layer [P, S' / 2], the caches → the caches. */
export const writing: CacheUse = {
  specs: (kind, sizes, c) => [
    ints(sizes.rows, sizes.length),
    ints(sizes.rows),
    ints(1),
    ...(kind === "read" ? [ints(sizes.rows)] : []),
    ...kindsOf(c).flatMap((each) => [floats(sizes.positions, c.rope[each].size / 2), floats(sizes.positions, c.rope[each].size / 2)]),
    ...caches(sizes, c),
  ],
  build(kind, inputs, weights, lora, c) {
    const [tokens, lasts, most, ...behind] = inputs;
    const last = kind === "read" ? behind.shift() : null;
    if (tokens === undefined || lasts === undefined || most === undefined || last === undefined) throw new RangeError("decoding was traced with too few inputs");
    const kinds = kindsOf(c);
    const tables = pairs(behind.slice(0, 2 * kinds.length)).map(([cos, sin]) => ({ cos, sin }));
    const turning = new Map(kinds.flatMap((each, at) => (tables[at] === undefined ? [] : [[each, tables[at]] as const])));
    const { logits, layers } = append(tokens, last, { lasts, most, turning, layers: keyValues(behind.slice(2 * kinds.length)) }, weights, lora, c);
    return [...answers(kind, logits), ...layers.flatMap(({ key, value }) => [key, value])];
  },
  inPlace(kind, c) {
    const before = (kind === "read" ? 4 : 3) + 2 * kindsOf(c).length;
    return new Map(Array.from({ length: 2 * c.layers }, (_, at) => [firstCache(kind) + at, before + at]));
  },
};

/** Of GroupQueryAttention (ONNX Runtime 1.30): a head, and what turns of it, are multiples of 16. */
export const fitsWriting = (c: ModelConfig) => c.headSize % 16 === 0 && kindsOf(c).every((kind) => c.rope[kind].size % 16 === 0);

function answers(kind: Kind, logits: tf.Tensor2D): tf.Tensor[] {
  if (kind === "read") return [logits];
  const { values, indices } = tf.topk(logits, 1);
  return [logits, indices, values];
}

export function pairs(tensors: readonly tf.Tensor[]): (readonly [tf.Tensor, tf.Tensor])[] {
  return Array.from({ length: tensors.length / 2 }, (_, at) => {
    const [one, other] = [tensors[2 * at], tensors[2 * at + 1]];
    if (one === undefined || other === undefined) throw new RangeError("tensors of caches, tables and adapters come in pairs");
    return [one, other];
  });
}

const keyValues = (tensors: readonly tf.Tensor[]): KeyValue[] => pairs(tensors).map(([key, value]) => ({ key, value }));
