/** config.json of a Hugging Face folder, for the families that we know. Unknown families are refused here, before any weight is read. */
import { z } from "zod";
import { EverloraError, describeIssues } from "../errors/errors.ts";

const positive = z.number().int().positive();

const llamaSchema = z.looseObject({
  model_type: z.literal("llama"),
  vocab_size: positive.max(1 << 22),
  hidden_size: positive.max(1 << 16),
  intermediate_size: positive.max(1 << 18),
  num_hidden_layers: positive.max(512),
  num_attention_heads: positive.max(1024),
  num_key_value_heads: positive.max(1024).optional(),
  head_dim: positive.max(1024).nullish(),
  rms_norm_eps: z.number().positive(),
  rope_theta: z.number().positive().optional(),
  /** transformers 5 writes the rotary settings here instead. */
  rope_parameters: z.looseObject({ rope_theta: z.number().positive().optional(), rope_type: z.string().optional() }).nullish(),
  rope_scaling: z.looseObject({}).nullish(),
  max_position_embeddings: positive,
  tie_word_embeddings: z.boolean().optional(),
  attention_bias: z.boolean().optional(),
  mlp_bias: z.boolean().optional(),
  hidden_act: z.string().optional(),
  bos_token_id: z.union([z.int(), z.null()]).optional(),
  eos_token_id: z.union([z.int(), z.array(z.int()), z.null()]).optional(),
});

/** What the model code needs to know, with every default settled. Sizes are element counts. */
export interface ModelConfig {
  readonly modelType: "llama";
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  readonly contextLength: number;
  readonly tiedHead: boolean;
  readonly endTokens: readonly number[];
}

/** @throws EverloraError invalid_model_folder naming the field, its value's fault, or the family that is not supported */
export function parseConfig(json: unknown, where: string): ModelConfig {
  const fault = (message: string, param = "config.json") => new EverloraError("invalid_model_folder", `${where}: ${message}`, { param });
  const type = z.looseObject({ model_type: z.string() }).safeParse(json);
  if (!type.success) throw fault("config.json has no model_type");
  if (type.data.model_type !== "llama") throw fault(`model_type ${JSON.stringify(type.data.model_type)} is not supported; supported: llama`, "model_type");
  const parsed = llamaSchema.safeParse(json);
  if (!parsed.success) throw fault(`config.json: ${describeIssues(parsed.error.issues, "config.json")}`);
  const c = parsed.data;
  const heads = c.num_attention_heads;
  const keyValueHeads = c.num_key_value_heads ?? heads;
  const headSize = c.head_dim ?? c.hidden_size / heads;
  if (!Number.isInteger(headSize) || headSize % 2 !== 0) throw fault(`hidden_size ${c.hidden_size} over num_attention_heads ${heads} gives no even head size`, "num_attention_heads");
  if (heads % keyValueHeads !== 0) throw fault(`num_attention_heads ${heads} is no multiple of num_key_value_heads ${keyValueHeads}`, "num_key_value_heads");
  if (c.attention_bias === true || c.mlp_bias === true) throw fault("attention_bias and mlp_bias are not supported", "attention_bias");
  if (c.hidden_act !== undefined && c.hidden_act !== "silu") throw fault(`hidden_act ${JSON.stringify(c.hidden_act)} is not supported; supported: silu`, "hidden_act");
  const scaling = c.rope_scaling ?? (c.rope_parameters?.rope_type === "default" ? null : (c.rope_parameters?.rope_type ?? null));
  if (scaling !== null) throw fault("scaled rotary embeddings (rope_scaling) are not supported", "rope_scaling");
  return {
    modelType: "llama",
    vocabSize: c.vocab_size,
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads,
    keyValueHeads,
    headSize,
    normEpsilon: c.rms_norm_eps,
    ropeTheta: c.rope_theta ?? c.rope_parameters?.rope_theta ?? 10_000,
    contextLength: c.max_position_embeddings,
    tiedHead: c.tie_word_embeddings ?? false,
    endTokens: typeof c.eos_token_id === "number" ? [c.eos_token_id] : (c.eos_token_id ?? []),
  };
}

/** Name and shape of every tensor that a model of this config has, as Hugging Face names them. Projections are [out, in]. */
export function expectedTensors(c: ModelConfig): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>([["model.embed_tokens.weight", [c.vocabSize, c.hiddenSize]]]);
  for (let layer = 0; layer < c.layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    tensors.set(`${prefix}input_layernorm.weight`, [c.hiddenSize]);
    tensors.set(`${prefix}post_attention_layernorm.weight`, [c.hiddenSize]);
    for (const [name, shape] of projections(c)) tensors.set(`${prefix}${name}.weight`, shape);
  }
  tensors.set("model.norm.weight", [c.hiddenSize]);
  if (!c.tiedHead) tensors.set("lm_head.weight", [c.vocabSize, c.hiddenSize]);
  return tensors;
}

/** The seven linear layers of a block, [out, in]: what an adapter may be put on. */
export function projections(c: ModelConfig): readonly (readonly [string, readonly [number, number]])[] {
  const query = c.heads * c.headSize;
  const keyValue = c.keyValueHeads * c.headSize;
  return [
    ["self_attn.q_proj", [query, c.hiddenSize]],
    ["self_attn.k_proj", [keyValue, c.hiddenSize]],
    ["self_attn.v_proj", [keyValue, c.hiddenSize]],
    ["self_attn.o_proj", [c.hiddenSize, query]],
    ["mlp.gate_proj", [c.intermediateSize, c.hiddenSize]],
    ["mlp.up_proj", [c.intermediateSize, c.hiddenSize]],
    ["mlp.down_proj", [c.hiddenSize, c.intermediateSize]],
  ];
}
