/** A BERT encoder's config.json, the tensors that follow from it, and how sentence-transformers' files say that its states become one vector. */
import { z } from "zod";
import { describeIssues } from "../errors/errors.ts";
import { configFault } from "./config.ts";
import type { Shape } from "./layout.ts";

const positive = z.number().int().positive();

const bertSchema = z.looseObject({
  model_type: z.literal("bert"),
  vocab_size: positive.max(1 << 22),
  hidden_size: positive.max(1 << 14),
  intermediate_size: positive.max(1 << 16),
  num_hidden_layers: positive.max(128),
  num_attention_heads: positive.max(256),
  max_position_embeddings: positive.max(1 << 16),
  type_vocab_size: positive.max(64).default(2),
  layer_norm_eps: z.number().positive().default(1e-12),
  hidden_act: z.literal(["gelu", "gelu_pytorch_tanh", "gelu_new"]).default("gelu"),
  position_embedding_type: z.literal("absolute", { error: "only absolute positions are supported" }).default("absolute"),
  is_decoder: z.literal(false, { error: "decoders of this family are not supported" }).default(false),
});

export interface BertConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly contextLength: number;
  readonly typeCount: number;
  readonly normEpsilon: number;
  readonly activation: "gelu" | "gelu_tanh";
}

/** @throws EverloraError invalid_model_folder naming the field */
export function parseBertConfig(json: unknown, where: string): BertConfig {
  const type = z.looseObject({ model_type: z.string() }).safeParse(json);
  if (!type.success) throw configFault(where, "config.json has no model_type");
  if (type.data.model_type !== "bert") throw configFault(where, `model_type ${JSON.stringify(type.data.model_type)} is no encoder that is supported; supported: bert`, "model_type");
  const parsed = bertSchema.safeParse(json);
  if (!parsed.success) throw configFault(where, `config.json: ${describeIssues(parsed.error.issues, "config.json")}`);
  const c = parsed.data;
  if (c.hidden_size % c.num_attention_heads !== 0) throw configFault(where, `hidden_size ${c.hidden_size} is no multiple of num_attention_heads ${c.num_attention_heads}`, "num_attention_heads");
  return {
    vocabSize: c.vocab_size,
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    contextLength: c.max_position_embeddings,
    typeCount: c.type_vocab_size,
    normEpsilon: c.layer_norm_eps,
    activation: c.hidden_act === "gelu" ? "gelu" : "gelu_tanh",
  };
}

/** Every tensor that the encoder needs, by the names of BertModel. */
export function bertTensors(c: BertConfig): ReadonlyMap<string, Shape> {
  const tensors = new Map<string, Shape>([
    ["embeddings.word_embeddings.weight", [c.vocabSize, c.hiddenSize]],
    ["embeddings.position_embeddings.weight", [c.contextLength, c.hiddenSize]],
    ["embeddings.token_type_embeddings.weight", [c.typeCount, c.hiddenSize]],
  ]);
  const norm = (name: string) => {
    for (const part of ["weight", "bias"]) tensors.set(`${name}.${part}`, [c.hiddenSize]);
  };
  const linear = (name: string, out: number, into: number) => tensors.set(`${name}.weight`, [out, into]).set(`${name}.bias`, [out]);
  norm("embeddings.LayerNorm");
  for (let layer = 0; layer < c.layers; layer++) {
    const prefix = `encoder.layer.${layer}`;
    for (const part of ["query", "key", "value"]) linear(`${prefix}.attention.self.${part}`, c.hiddenSize, c.hiddenSize);
    linear(`${prefix}.attention.output.dense`, c.hiddenSize, c.hiddenSize);
    norm(`${prefix}.attention.output.LayerNorm`);
    linear(`${prefix}.intermediate.dense`, c.intermediateSize, c.hiddenSize);
    linear(`${prefix}.output.dense`, c.hiddenSize, c.intermediateSize);
    norm(`${prefix}.output.LayerNorm`);
  }
  return tensors;
}

/** Heads on top of the encoder, and numbers that follow from the config: other models' business. */
const notOurs = /^(cls|pooler|classifier|qa_outputs)\.|^embeddings\.position_ids$/;

/** The name that a stored tensor goes by in `bertTensors`; null for what the encoder does not use. */
export function bertNameOf(stored: string): string | null {
  const name = stored
    .replace(/^bert\./, "")
    // As TensorFlow's checkpoints called them.
    .replace(/LayerNorm\.gamma$/, "LayerNorm.weight")
    .replace(/LayerNorm\.beta$/, "LayerNorm.bias");
  return notOurs.test(name) ? null : name;
}

export interface Pooling {
  readonly mode: "mean" | "cls";
  /** Vectors are brought to length 1. */
  readonly normalise: boolean;
}

const modulesSchema = z.array(z.looseObject({ type: z.string(), path: z.string() })).max(16);
const poolingSchema = z.record(z.string(), z.unknown());
/** The last part of the module's class name. */
const knownModules = ["Transformer", "Pooling", "Normalize"];

/**
 * sentence-transformers' modules.json and its pooling's config.json. @param modules null: the folder is a bare encoder, read as mean and normalised
 * @throws EverloraError invalid_model_folder naming the module or the pooling that is not supported
 */
export function parsePooling(modules: unknown, pooling: unknown, where: string): Pooling {
  if (modules === null) return { mode: "mean", normalise: true };
  const list = modulesSchema.safeParse(modules);
  if (!list.success) throw configFault(where, `modules.json: ${describeIssues(list.error.issues, "modules.json")}`, "modules.json");
  const names = list.data.map(({ type }) => type.slice(type.lastIndexOf(".") + 1));
  const odd = names.find((name, at) => !knownModules.includes(name) || names.indexOf(name) !== at);
  if (odd !== undefined || names[0] !== "Transformer" || names[1] !== "Pooling") throw configFault(where, `modules.json: [${names.join(", ")}] is not supported; supported: Transformer, Pooling, and perhaps Normalize, in this order`, "modules.json");
  const settings = poolingSchema.safeParse(pooling);
  if (!settings.success) throw configFault(where, "the pooling's config.json is no object", "1_Pooling/config.json");
  const old = Object.entries(settings.data).filter(([name, value]) => name.startsWith("pooling_mode_") && value === true).map(([name]) => name.slice("pooling_mode_".length));
  const said = settings.data["pooling_mode"];
  const modes = said === undefined ? old : z.array(z.string()).parse([said].flat());
  const [mode] = modes.map((name) => name.replace(/_tokens?$/, ""));
  if (modes.length !== 1 || (mode !== "mean" && mode !== "cls")) throw configFault(where, `pooling ${modes.join(" and ") || "by nothing"} is not supported; supported: mean, cls`, "1_Pooling/config.json");
  return { mode, normalise: names.includes("Normalize") };
}

/** Where the pooling's config.json lies, relative to the folder. */
export function poolingPath(modules: unknown): string {
  const list = modulesSchema.safeParse(modules);
  return `${(list.success ? list.data.find(({ type }) => type.endsWith(".Pooling"))?.path : undefined) ?? "1_Pooling"}/config.json`;
}
