/**
 * config.json of a Hugging Face folder → ModelConfig, for the families that we know: one schema each, with the defaults that the family's own config
 * class has in transformers, and one function that says what is special. Others are refused here, before any weight is read.
 */
import { z } from "zod";
import { describeIssues } from "../errors/errors.ts";
import { configFault, type LayerKind, type ModelConfig } from "./config.ts";
import { longestOf, parseRope, ropeFields, type RopeFields } from "./rope_config.ts";

const positive = z.number().int().positive();
/** Counted before it is read: a megabyte of wrong names would become as many issues. */
const layerTypes = z.array(z.unknown()).max(512).pipe(z.array(z.enum(["full_attention", "sliding_attention"]))).nullish();
const window = positive.nullable();
const cap = z.number().positive().nullable();

const common = z.looseObject({
  vocab_size: positive.max(1 << 22),
  hidden_size: positive.max(1 << 16),
  intermediate_size: positive.max(1 << 18),
  num_hidden_layers: positive.max(512),
  num_attention_heads: positive.max(1024),
  num_key_value_heads: positive.max(1024).nullish(),
  head_dim: positive.max(1024).nullish(),
  max_position_embeddings: positive,
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  hidden_act: z.string().default("silu"),
  eos_token_id: z.union([z.int().nonnegative(), z.array(z.unknown()).max(256).pipe(z.array(z.int().nonnegative())), z.null()]).optional(),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  ...ropeFields,
});
const gemma = {
  head_dim: positive.max(1024).default(256),
  tie_word_embeddings: z.boolean().default(true),
  hidden_act: z.string().optional(),
  hidden_activation: z.string().default("gelu_pytorch_tanh"),
  query_pre_attn_scalar: z.number().positive().default(256),
  use_bidirectional_attention: z.boolean().nullish().refine((value) => value !== true, "attention in both directions is not supported"),
  layer_types: layerTypes,
};
const qwen = { use_sliding_window: z.boolean().default(false), sliding_window: window.default(4096), max_window_layers: z.int().nonnegative().default(28), layer_types: layerTypes };

const configSchema = z.discriminatedUnion("model_type", [
  common.extend({ model_type: z.literal("llama") }),
  common.extend({ model_type: z.literal("mistral"), sliding_window: window.default(4096) }),
  common.extend({ model_type: z.literal("qwen2"), ...qwen }),
  common.extend({ model_type: z.literal("qwen3"), ...qwen, head_dim: positive.max(1024).default(128) }),
  common.extend({ model_type: z.literal("gemma2"), ...gemma, sliding_window: window.default(4096), attn_logit_softcapping: cap.default(50), final_logit_softcapping: cap.default(30) }),
  common.extend({ model_type: z.literal("gemma3_text"), ...gemma, sliding_window: window.default(4096), sliding_window_pattern: positive.nullish(), attn_logit_softcapping: cap.default(null), final_logit_softcapping: cap.default(null) }),
  common.extend({ model_type: z.literal("phi3"), sliding_window: window.default(null), original_max_position_embeddings: positive.default(4096) }),
]);
type Config = z.infer<typeof configSchema>;
type Of<T extends Config["model_type"]> = Extract<Config, { model_type: T }>;

/** What a family has that the common shape has not. */
interface Features {
  readonly layerKinds?: readonly LayerKind[];
  readonly window?: number | null;
  readonly activation?: string | undefined;
  readonly rope?: ModelConfig["rope"];
  readonly changes?: Partial<ModelConfig>;
}
type Context = { readonly where: string; readonly headSize: number };

/** The table of families. Fields that a family's own code ignores are refused below if they are set. */
const families: { readonly [T in Config["model_type"]]: (c: Of<T>, context: Context) => Features } = {
  llama: (c) => ({ changes: { biases: { queryKeyValue: c.attention_bias, output: c.attention_bias, mlp: c.mlp_bias } } }),
  mistral: (c) => ({ ...slidingFrom(c, c.sliding_window, () => true) }),
  qwen2: (c) => ({ ...slidingFrom(c, c.use_sliding_window ? c.sliding_window : null, (layer) => layer >= c.max_window_layers), changes: { biases: { queryKeyValue: true, output: false, mlp: false } } }),
  qwen3: (c) => ({ ...slidingFrom(c, c.use_sliding_window ? c.sliding_window : null, (layer) => layer >= c.max_window_layers), changes: { queryKeyNorms: true, biases: attentionBiases(c) } }),
  gemma2: (c) => ({ ...slidingFrom(c, c.sliding_window, (layer) => layer % 2 === 0), activation: c.hidden_activation, changes: { ...gemmaChanges(c), biases: attentionBiases(c) } }),
  gemma3_text: (c, { where, headSize }) => {
    const rules = { headSize, contextLength: c.max_position_embeddings, phi: false };
    // In the old form rope_scaling is that of the full layers.
    const rope = {
      full: parseRope(where, c, ropeOf(c, "full"), c.rope_theta, { ...rules, defaultTheta: 1_000_000 }),
      sliding: parseRope(where, c, ropeOf({ ...c, rope_scaling: null }, "sliding"), c.rope_local_base_freq, { ...rules, defaultTheta: 10_000 }),
    };
    const every = c.sliding_window_pattern ?? 6;
    return { ...slidingFrom(c, c.sliding_window, (layer) => (layer + 1) % every !== 0), activation: c.hidden_activation, rope, changes: { ...gemmaChanges(c), queryKeyNorms: true, biases: attentionBiases(c) } };
  },
  phi3: (c) => ({ ...slidingFrom(c, c.sliding_window, () => true), changes: { fused: true } }),
};

export const supportedFamilies: readonly string[] = Object.keys(families);

/** @throws EverloraError invalid_model_folder naming the field, its value's fault, or the family that is not supported */
export function parseConfig(json: unknown, where: string): ModelConfig {
  const type = z.looseObject({ model_type: z.string() }).safeParse(json);
  if (!type.success) throw configFault(where, "config.json has no model_type");
  if (!supportedFamilies.includes(type.data.model_type)) throw configFault(where, `model_type ${JSON.stringify(type.data.model_type)} is not supported; supported: ${supportedFamilies.join(", ")}`, "model_type");
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) throw configFault(where, `config.json: ${describeIssues(parsed.error.issues, "config.json")}`);
  const c = parsed.data;
  const heads = c.num_attention_heads;
  const keyValueHeads = c.num_key_value_heads ?? heads;
  const headSize = c.head_dim ?? c.hidden_size / heads;
  if (!Number.isInteger(headSize) || headSize % 2 !== 0) throw configFault(where, `hidden_size ${c.hidden_size} over num_attention_heads ${heads} gives no even head size`, "num_attention_heads");
  if (heads % keyValueHeads !== 0) throw configFault(where, `num_attention_heads ${heads} is no multiple of num_key_value_heads ${keyValueHeads}`, "num_key_value_heads");
  const features = featuresOf(c, { where, headSize });
  const layerKinds = features.layerKinds ?? Array.from({ length: c.num_hidden_layers }, () => "full" as const);
  if (layerKinds.length !== c.num_hidden_layers) throw configFault(where, `layer_types names ${layerKinds.length} layers, num_hidden_layers is ${c.num_hidden_layers}`, "layer_types");
  const slides = layerKinds.includes("sliding");
  if (slides && features.window == null) throw configFault(where, "layers slide, but there is no sliding_window", "sliding_window");
  const rope = features.rope ?? plainRope(c, where, headSize);
  return {
    modelType: c.model_type,
    vocabSize: c.vocab_size,
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads,
    keyValueHeads,
    headSize,
    normEpsilon: c.rms_norm_eps,
    contextLength: Math.min(...Object.values(rope).map((of) => longestOf(of, c.max_position_embeddings))),
    tiedHead: c.tie_word_embeddings,
    endTokens: typeof c.eos_token_id === "number" ? [c.eos_token_id] : (c.eos_token_id ?? []),
    layerKinds,
    window: slides ? (features.window ?? null) : null,
    rope,
    scoreScale: 1 / Math.sqrt(headSize),
    scoreCap: null,
    logitCap: null,
    embeddingScale: 1,
    gainOffset: 0,
    sandwichNorms: false,
    queryKeyNorms: false,
    activation: activationOf(features.activation ?? c.hidden_act ?? "silu", where),
    biases: { queryKeyValue: false, output: false, mlp: false },
    fused: false,
    ...features.changes,
  };
}

function featuresOf<T extends Config["model_type"]>(c: Of<T>, context: Context): Features {
  const family = families[c.model_type];
  const features = family(c, context);
  const biases = features.changes?.biases;
  if (c.attention_bias && biases?.queryKeyValue !== true) throw configFault(context.where, `attention_bias is not supported for ${c.model_type}`, "attention_bias");
  if (c.mlp_bias && biases?.mlp !== true) throw configFault(context.where, `mlp_bias is not supported for ${c.model_type}`, "mlp_bias");
  return features;
}

/** @param slides which layers do where layer_types does not say */
function slidingFrom(c: { readonly num_hidden_layers: number; readonly layer_types?: readonly string[] | null | undefined }, size: number | null, slides: (layer: number) => boolean): { layerKinds: LayerKind[]; window: number | null } {
  const kinds = c.layer_types?.map((name): LayerKind => (name === "sliding_attention" ? "sliding" : "full"));
  return { layerKinds: kinds ?? Array.from({ length: c.num_hidden_layers }, (_, layer): LayerKind => (size !== null && slides(layer) ? "sliding" : "full")), window: size };
}

const attentionBiases = (c: { readonly attention_bias: boolean }) => ({ queryKeyValue: c.attention_bias, output: c.attention_bias, mlp: false });

const gemmaChanges = (c: Of<"gemma2"> | Of<"gemma3_text">): Partial<ModelConfig> => ({
  scoreScale: 1 / Math.sqrt(c.query_pre_attn_scalar),
  scoreCap: c.attn_logit_softcapping,
  logitCap: c.final_logit_softcapping,
  embeddingScale: Math.sqrt(c.hidden_size),
  gainOffset: 1,
  sandwichNorms: true,
});

/** The settings of one kind of layer; those for all where they are not told apart. */
function ropeOf(c: RopeFields, kind: LayerKind): Readonly<Record<string, unknown>> {
  const given: Readonly<Record<string, unknown>> = c.rope_parameters ?? c.rope_scaling ?? {};
  const nested = "full_attention" in given || "sliding_attention" in given;
  const own = nested ? given[`${kind}_attention`] : given;
  const parsed = z.looseObject({}).nullish().safeParse(own);
  return parsed.success ? (parsed.data ?? {}) : { rope_type: own };
}

function plainRope(c: Config, where: string, headSize: number): ModelConfig["rope"] {
  const rules = { headSize, contextLength: c.max_position_embeddings, defaultTheta: 10_000, phi: c.model_type === "phi3" };
  const of = (kind: LayerKind) => parseRope(where, c, ropeOf(c, kind), c.rope_theta, rules);
  return { full: of("full"), sliding: of("sliding") };
}

function activationOf(name: string, where: string): ModelConfig["activation"] {
  if (name === "silu") return "silu";
  if (name === "gelu_pytorch_tanh") return "gelu_tanh";
  throw configFault(where, `hidden_act ${JSON.stringify(name)} is not supported; supported: silu, gelu_pytorch_tanh`, "hidden_act");
}
