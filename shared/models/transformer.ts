/**
 * The decoder-only transformer in tfjs ops: embedding, blocks, head, with LoRA on any projection (Touvron et al. 2023; SwiGLU: Shazeer 2020). What a
 * family has of its own is in its ModelConfig. Pure functions of tensors: where weights lie and what runs them is not known here.
 * Letters in shapes: B rows, T positions, D hidden size, H heads, K key/value heads, S head size, C cache capacity, V vocabulary.
 */
import { activations, softCap, swiGlu } from "./activation.ts";
import { additive, attend, causal, toHeads, within, type KeyValue } from "./attention.ts";
import type { LayerKind, ModelConfig } from "./config.ts";
import { ownKernel } from "./kernel.ts";
import { jointly, type Whole } from "./layout.ts";
import { project, projectAll, weight, type Lora, type Weights } from "./linear.ts";
import { headLoss } from "./loss.ts";
import { rmsNorm } from "./norm.ts";
import { rotate, rotation, type Rotation } from "./rope.ts";
import { quantisedProduct } from "./quantised_product.ts";
import * as tf from "./tfjs.ts";

/** Where the tokens stand and what they see. Rows have nothing to do with each other: each has positions and a view of its own. */
export interface View {
  /** int32 [B, T], counted from the beginning of what the token belongs to. */
  readonly positions: tf.Tensor;
  /** bool [B or 1, T, T]: which of the T tokens a token sees, before any sliding window of the model's own. */
  readonly visible: tf.Tensor;
  /** `visible` lets no token see what stands behind it in its row: half of the scores need not be computed. */
  readonly causal?: boolean;
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

/** A cache that attention writes to itself (kernels/fused.ts, CachedAttention). */
export interface WrittenCache {
  /** int32 [B]: the position of each row's last token. */
  readonly lasts: tf.Tensor;
  /** int32 [1]: the largest of them and one. */
  readonly most: tf.Tensor;
  /** By kind of layer, cosines and sines of all positions [P, S' / 2]. */
  readonly turning: ReadonlyMap<LayerKind, { readonly cos: tf.Tensor; readonly sin: tf.Tensor }>;
  /** Per layer, [B, K, C, S]. */
  readonly layers: readonly KeyValue[];
}

/** What all layers of one kind share. */
interface Sight {
  readonly rotation: Rotation;
  readonly mask: tf.Tensor;
  readonly causal: boolean;
  readonly pastMask: tf.Tensor | null;
}
/** By kind; there is one of each kind that the model has. */
export type Sights = ReadonlyMap<LayerKind, Sight>;

/** tokens int32 [B, T] → [B·T, D] */
export function embed(tokens: tf.Tensor, weights: Weights, c: ModelConfig): tf.Tensor2D {
  const rows: tf.Tensor2D = tf.reshape(tf.gather(weight(weights, "model.embed_tokens.weight"), tf.reshape(tokens, [-1])), [-1, c.hiddenSize]);
  return c.embeddingScale === 1 ? rows : tf.mul(rows, c.embeddingScale);
}

/** Turning and masks of each kind of layer, made once for all of them. */
export function sightsOf(view: View, c: ModelConfig): Sights {
  const narrowed = (visible: tf.Tensor, keys: tf.Tensor, kind: LayerKind) => (kind === "full" || c.window === null ? visible : tf.logicalAnd(visible, within(c.window, view.positions, keys)));
  return new Map(
    [...new Set(c.layerKinds)].map((kind) => [
      kind,
      {
        rotation: rotation(view.positions, c.rope[kind]),
        mask: additive(narrowed(view.visible, view.positions, kind)),
        causal: view.causal ?? false,
        pastMask: view.past === undefined ? null : additive(narrowed(view.past.visible, view.past.positions, kind)),
      },
    ]),
  );
}

/** What goes into a layer's attention, [B·T, ..], and the norm of each head's query or key, where the family has one. */
interface Asked {
  readonly q: tf.Tensor2D;
  readonly k: tf.Tensor2D;
  readonly v: tf.Tensor2D;
  readonly headNorm: <T extends tf.Tensor>(of: "q" | "k", heads: T) => T;
}

/** A layer's attention: → [B·T, H·S], and keys and values to keep. */
export type Attention = (layer: number, asked: Asked) => { readonly mixed: tf.Tensor2D; readonly own: KeyValue };

function ofKind<T>(of: ReadonlyMap<LayerKind, T>, layer: number, c: ModelConfig): T {
  const found = of.get(c.layerKinds[layer] ?? "full");
  if (found === undefined) throw new RangeError(`layer ${layer} is of a kind that nothing was made for`);
  return found;
}

/** Attention of the tokens to each other and to what a cache holds, if there is one. It gives the tokens' own turned keys and values, [B, K, T, S]. */
export function attending(rows: number, sights: Sights, past: readonly KeyValue[] | null, c: ModelConfig): Attention {
  return (layer, { q, k, v, headNorm }) => {
    const sight = ofKind(sights, layer, c);
    const turned = (of: "q" | "k", part: tf.Tensor2D, heads: number) => rotate(headNorm(of, toHeads(part, rows, heads, c.headSize)), sight.rotation);
    const own = { key: turned("k", k, c.keyValueHeads), value: toHeads(v, rows, c.keyValueHeads, c.headSize) };
    const cached = past?.[layer];
    const runs = [...(cached === undefined || sight.pastMask === null ? [] : [{ ...cached, mask: sight.pastMask }]), { ...own, mask: sight.mask, causal: sight.causal }];
    return { mixed: attend(turned("q", q, c.heads), runs, c), own };
  };
}

/** Attention to a cache, which gives the cache with the tokens' keys and values in it, [B, K, C, S]. Only where the backend has such a kernel. */
export function attendingInPlace({ lasts, most, turning, layers }: WrittenCache, c: ModelConfig): Attention {
  return (layer, { q, k, v, headNorm }) => {
    const [cached, { cos, sin }] = [layers[layer], ofKind(turning, layer, c)];
    if (cached === undefined) throw new RangeError(`the cache has no layer ${layer}`);
    const normed = (of: "q" | "k", part: tf.Tensor2D, heads: number): tf.Tensor2D => (c.queryKeyNorms ? tf.reshape(headNorm(of, tf.reshape(part, [-1, heads, c.headSize])), part.shape) : part);
    const qkv = tf.concat2d([normed("q", q, c.heads), normed("k", k, c.keyValueHeads), v], -1);
    const window = c.layerKinds[layer] === "sliding" ? (c.window ?? 0) : 0;
    const [mixed, key, value] = ownKernel("CachedAttention", { qkv, keys: cached.key, values: cached.value, lasts, most, cos, sin }, { heads: c.heads, keyValueHeads: c.keyValueHeads, scale: c.scoreScale, window, cap: c.scoreCap ?? 0 }) ?? [];
    if (mixed === undefined || key === undefined || value === undefined) throw new Error("the backend has no attention that writes its cache");
    return { mixed: mixed as tf.Tensor2D, own: { key, value } };
  };
}

/** One block. x [B·T, D] → [B·T, D], and what its attention keeps. */
export function block(x: tf.Tensor2D, layer: number, attention: Attention, weights: Weights, lora: Lora | null, c: ModelConfig): { x: tf.Tensor2D; own: KeyValue } {
  const prefix = `model.layers.${layer}.`;
  const norm = <T extends tf.Tensor>(name: string, of: T) => rmsNorm(of, weight(weights, `${prefix}${name}.weight`), c.normEpsilon, c.gainOffset);
  const single = (name: string, of: tf.Tensor2D) => project(of, `${prefix}${name}`, weights, lora);
  const several = (whole: Whole, of: tf.Tensor2D): tf.Tensor2D[] => {
    const parts = jointly[whole](c).map(([name, outputs]) => [`${prefix}${name}`, outputs] as const);
    if (c.fused) return tf.split(single(whole, of), parts.map(([, outputs]) => outputs), -1);
    return projectAll(of, `${prefix}${whole}`, parts, weights, lora);
  };
  const [q, k, v] = several("self_attn.qkv_proj", norm("input_layernorm", x));
  if (q === undefined || k === undefined || v === undefined) throw new RangeError("qkv_proj could not be split");
  const { mixed, own } = attention(layer, { q, k, v, headNorm: (of, heads) => (c.queryKeyNorms ? norm(`self_attn.${of}_norm`, heads) : heads) });
  const projected = single("self_attn.o_proj", mixed);
  const attended: tf.Tensor2D = tf.add(x, c.sandwichNorms ? norm("post_attention_layernorm", projected) : projected);
  const second = norm(c.sandwichNorms ? "pre_feedforward_layernorm" : "post_attention_layernorm", attended);
  const [gate, up] = several("mlp.gate_up_proj", second);
  if (gate === undefined || up === undefined) throw new RangeError("gate_up_proj could not be split");
  const made = single("mlp.down_proj", c.activation === "silu" ? swiGlu(gate, up) : tf.mul(activations[c.activation](gate), up));
  return { x: tf.add(attended, c.sandwichNorms ? norm("post_feedforward_layernorm", made) : made), own };
}

/** Runs all blocks. x [B·T, D] → normed hidden states [B·T, D], and what each layer's attention keeps. */
export function blocks(embedded: tf.Tensor2D, attention: Attention, weights: Weights, lora: Lora | null, c: ModelConfig): { hidden: tf.Tensor2D; cache: KeyValue[] } {
  let x = embedded;
  const cache: KeyValue[] = [];
  for (let layer = 0; layer < c.layers; layer++) {
    const next = block(x, layer, attention, weights, lora, c);
    x = next.x;
    cache.push(next.own);
  }
  return { hidden: finalNorm(x, weights, c), cache };
}

/** `attending` by what the tokens see. */
export const attendingTo = (view: View, c: ModelConfig): Attention => attending(view.positions.shape[0] ?? 1, sightsOf(view, c), view.past?.layers ?? null, c);

/** What stands between the last block and the head. */
export function finalNorm(x: tf.Tensor2D, weights: Weights, c: ModelConfig): tf.Tensor2D {
  return rmsNorm(x, weight(weights, "model.norm.weight"), c.normEpsilon, c.gainOffset);
}

/** hidden [N, D], targets int32 [N] → −log p(target) of each row [N], nats, without holding the logits of all rows (loss.ts). */
export function lossesOf(hidden: tf.Tensor2D, targets: tf.Tensor1D, weights: Weights, c: ModelConfig): tf.Tensor1D {
  const product = (x: tf.Tensor2D): tf.Tensor2D => quantisedProduct(x, headName(c), weights) ?? tf.matMul(x, headOf(weights, c), false, true);
  return headLoss(hidden, headOf(weights, c), targets, { softcap: c.logitCap, product });
}

const headName = (c: ModelConfig) => (c.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight");

function headOf(weights: Weights, c: ModelConfig): tf.Tensor2D {
  return weight(weights, headName(c)) as tf.Tensor2D;
}

/** hidden [N, D] → logits [N, V] */
export function logitsOf(hidden: tf.Tensor2D, weights: Weights, c: ModelConfig): tf.Tensor2D {
  const logits: tf.Tensor2D = quantisedProduct(hidden, headName(c), weights) ?? tf.matMul(hidden, headOf(weights, c), false, true);
  return softCap(logits, c.logitCap);
}

/** The view of packed rows: tokens of different segments of a row do not see each other. @param segments int32 [B, T], 0 = padding */
export function packedView(positions: tf.Tensor, segments: tf.Tensor): View {
  const same = tf.equal(tf.expandDims(segments, 2), tf.expandDims(segments, 1));
  return { positions, visible: tf.logicalAnd(same, causal(positions.shape[1] ?? 1)), causal: true };
}

/**
 * Hidden states of packed rows.
 * @param tokens int32 [B, T]; @param positions int32 [B, T], counted within a segment; @param segments int32 [B, T], 0 = padding
 * @returns [B·T, D]
 */
export function hiddenStates(tokens: tf.Tensor, positions: tf.Tensor, segments: tf.Tensor, weights: Weights, lora: Lora | null, c: ModelConfig): tf.Tensor2D {
  return blocks(embed(tokens, weights, c), attendingTo(packedView(positions, segments), c), weights, lora, c).hidden;
}
