/**
 * adapter_config.json as PEFT writes it for LoRA (huggingface/peft, src/peft/tuners/lora/config.py). We write the fields that every PEFT since 0.8
 * knows, and refuse on reading what we can't compute.
 */
import { z } from "zod";

/** Fields that make PEFT compute something else than W x + scale · B A x. The tensors alone would not show it: the answers would be wrong in silence. */
const notSet = (what: string) => z.union([z.null(), z.literal(false), z.array(z.never())], { error: `${what} is not supported` }).optional();
/** These decompose the base's own weights when PEFT loads the adapter, unless it was saved with path_initial_model_for_weight_conversion. */
const rewritesBase = /^(pissa|corda|olora$|loftq$|lora_ga$|mica$)/i;

export const peftConfigSchema = z.looseObject({
  peft_type: z.literal("LORA", { error: "must be LORA" }),
  r: z.int().min(1).max(4096),
  lora_alpha: z.number().positive(),
  target_modules: z.union([z.array(z.string().min(1)).min(1), z.string().min(1)]),
  base_model_name_or_path: z.string().nullish(),
  bias: z.literal("none", { error: "trained biases are not supported" }).optional(),
  fan_in_fan_out: z.literal(false, { error: "fan_in_fan_out is not supported" }).optional(),
  use_rslora: z.boolean().optional(),
  use_dora: z.literal(false, { error: "DoRA is not supported" }).optional(),
  modules_to_save: z.union([z.null(), z.array(z.string()).max(0, "modules_to_save is not supported")]).optional(),
  init_lora_weights: z.unknown().refine((value) => typeof value !== "string" || !rewritesBase.test(value), { error: "the adapter belongs to base weights that this initialisation changed; save it with path_initial_model_for_weight_conversion" }),
  alora_invocation_tokens: notSet("activated LoRA"),
  arrow_config: notSet("Arrow routing"),
  kasa_config: notSet("KaSA"),
  layer_replication: notSet("layer replication"),
  use_bdlora: notSet("block-diagonal LoRA"),
  use_qalora: notSet("QALoRA"),
  lora_bias: notSet("a bias of B"),
  target_parameters: notSet("LoRA on bare parameters"),
  trainable_token_indices: notSet("trained tokens"),
  velora_config: notSet("VeLoRA"),
  monteclora_config: notSet("MonteCLoRA"),
  target_modules_to_tie: notSet("tied modules"),
  exclude_modules: z.union([z.array(z.string()), z.string()]).nullish(),
  layers_to_transform: z.union([z.int().nonnegative(), z.array(z.int().nonnegative())]).nullish(),
  layers_pattern: z.union([z.string(), z.array(z.string())]).nullish(),
  rank_pattern: z.record(z.string(), z.int().min(1).max(4096)).nullish(),
  alpha_pattern: z.record(z.string(), z.number().positive()).nullish(),
});
export type PeftConfig = z.infer<typeof peftConfigSchema>;

export interface LoraSettings {
  readonly rank: number;
  readonly alpha: number;
  /** Last parts of the projections' names: q_proj, … */
  readonly targetModules: readonly string[];
  /** How the base is called; never empty: LoRAX takes ten seconds over a config whose base's name is null. */
  readonly baseModel: string;
  /** Of the adapter's input, in training only. Default 0. */
  readonly dropout?: number;
  /** Scale by alpha / √r instead of alpha / r (Kalajdzievski 2023). Default false. */
  readonly rankStabilised?: boolean;
  /** Ranks and alphas of single modules, by the end of their name or a regular expression for it. */
  readonly rankPattern?: Readonly<Record<string, number>>;
  readonly alphaPattern?: Readonly<Record<string, number>>;
  /** Only these layers carry the adapter. Default: all. */
  readonly layers?: readonly number[];
}

/** The config of a new adapter. */
export function createPeftConfig(settings: LoraSettings): PeftConfig {
  return {
    alpha_pattern: { ...settings.alphaPattern },
    auto_mapping: null,
    base_model_name_or_path: settings.baseModel,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: settings.layers === undefined ? null : [...settings.layers],
    lora_alpha: settings.alpha,
    lora_dropout: settings.dropout ?? 0,
    modules_to_save: null,
    peft_type: "LORA",
    r: settings.rank,
    rank_pattern: { ...settings.rankPattern },
    revision: null,
    target_modules: [...settings.targetModules].sort(),
    task_type: "CAUSAL_LM",
    use_dora: false,
    use_rslora: settings.rankStabilised ?? false,
  };
}

/** What B A x is multiplied by: alpha / r, or alpha / √r for rank-stabilised adapters (Kalajdzievski 2023). */
export function loraScale(rank: number, alpha: number, rankStabilised: boolean): number {
  return alpha / (rankStabilised ? Math.sqrt(rank) : rank);
}
