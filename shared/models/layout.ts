/** Which tensors a decoder's weights consist of, by Hugging Face name, with their shapes. */
import type { ModelConfig } from "./config.ts";

export type Shape = readonly number[];
/** A linear layer's name and weight [out, in]. */
export type Projection = readonly [name: string, shape: readonly [number, number]];

/** Projections with their numbers of outputs, in the order in which these stand. */
type Parts = readonly (readonly [name: string, outputs: number])[];

/** Projections of the same x whose outputs stand one behind the other in one: in the families that store them so (Phi-3), and wherever weights only serve. */
export const jointly = {
  "self_attn.qkv_proj": (c: ModelConfig): Parts => [["self_attn.q_proj", c.heads * c.headSize], ["self_attn.k_proj", c.keyValueHeads * c.headSize], ["self_attn.v_proj", c.keyValueHeads * c.headSize]],
  "mlp.gate_up_proj": (c: ModelConfig): Parts => [["mlp.gate_proj", c.intermediateSize], ["mlp.up_proj", c.intermediateSize]],
} as const;
export type Whole = keyof typeof jointly;
export const wholes = Object.keys(jointly) as Whole[];

/** The linear layers of a block: what an adapter may be put on. */
export function projections(c: ModelConfig): readonly Projection[] {
  const output: Projection = ["self_attn.o_proj", [c.hiddenSize, c.heads * c.headSize]];
  const down: Projection = ["mlp.down_proj", [c.hiddenSize, c.intermediateSize]];
  const ofHidden = (whole: Whole): readonly Projection[] => {
    const parts = jointly[whole](c).map(([name, outputs]): Projection => [name, [outputs, c.hiddenSize]]);
    return c.fused ? [[whole, [parts.reduce((sum, [, [outputs]]) => sum + outputs, 0), c.hiddenSize]]] : parts;
  };
  return [...ofHidden("self_attn.qkv_proj"), output, ...ofHidden("mlp.gate_up_proj"), down];
}

/** Every tensor that the weights must hold. A tied head has none of its own. */
export function expectedTensors(c: ModelConfig): ReadonlyMap<string, Shape> {
  const tensors = new Map<string, Shape>([["model.embed_tokens.weight", [c.vocabSize, c.hiddenSize]]]);
  for (let layer = 0; layer < c.layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    for (const name of blockNorms(c)) tensors.set(`${prefix}${name}.weight`, [c.hiddenSize]);
    if (c.queryKeyNorms) for (const name of ["q_norm", "k_norm"]) tensors.set(`${prefix}self_attn.${name}.weight`, [c.headSize]);
    for (const [name, shape] of projections(c)) {
      tensors.set(`${prefix}${name}.weight`, shape);
      if (hasBias(name, c)) tensors.set(`${prefix}${name}.bias`, [shape[0]]);
    }
  }
  tensors.set("model.norm.weight", [c.hiddenSize]);
  if (!c.tiedHead) tensors.set("lm_head.weight", [c.vocabSize, c.hiddenSize]);
  return tensors;
}

function blockNorms(c: ModelConfig): string[] {
  const plain = ["input_layernorm", "post_attention_layernorm"];
  return c.sandwichNorms ? [...plain, "pre_feedforward_layernorm", "post_feedforward_layernorm"] : plain;
}

function hasBias(projection: string, { biases }: ModelConfig): boolean {
  if (projection.startsWith("mlp.")) return biases.mlp;
  return projection === "self_attn.o_proj" ? biases.output : biases.queryKeyValue;
}

/** Tensors that some writers store although they follow from the config or from another tensor: passed over wherever they are. */
const harmless: readonly ((name: string, c: ModelConfig) => boolean)[] = [
  // Old transformers saved the rotary frequencies.
  (name) => name.endsWith(".rotary_emb.inv_freq"),
  // A tied head, stored once more.
  (name, c) => c.tiedHead && name === "lm_head.weight",
];

export const isHarmless = (name: string, c: ModelConfig): boolean => harmless.some((is) => is(name, c));
