/**
 * What the model code needs to know of a decoder, with every default settled. config.json becomes one of these in families.ts; which tensors follow
 * from it is said in layout.ts.
 */
import { EverloraError } from "../errors/errors.ts";
import type { Rope } from "./rope_config.ts";

/** A full layer sees everything before a token, a sliding one only what is nearer than the window. */
export type LayerKind = "full" | "sliding";

/** Sizes are element counts. */
export interface ModelConfig {
  /** As config.json calls the family. */
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  readonly normEpsilon: number;
  /** What config.json allows, or what the rotary settings hold for if that is less. */
  readonly contextLength: number;
  readonly tiedHead: boolean;
  readonly endTokens: readonly number[];
  /** One per layer. */
  readonly layerKinds: readonly LayerKind[];
  /** How many positions a sliding layer sees, its own included; null where no layer slides. */
  readonly window: number | null;
  readonly rope: Readonly<Record<LayerKind, Rope>>;
  /** What the products of query and key are multiplied by. */
  readonly scoreScale: number;
  /** Scores and logits x become cap · tanh(x / cap) (Gemma 2); null: they stay. */
  readonly scoreCap: number | null;
  readonly logitCap: number | null;
  /** What an embedding is multiplied by before the first block. */
  readonly embeddingScale: number;
  /** Added to every norm's gain: Gemma stores the distance from 1. */
  readonly gainOffset: 0 | 1;
  /** Attention and MLP are normed behind as well (Gemma 2). */
  readonly sandwichNorms: boolean;
  /** Each head's query and key are normed before they are turned. */
  readonly queryKeyNorms: boolean;
  readonly activation: "silu" | "gelu_tanh";
  /** Which projections have a bias. */
  readonly biases: { readonly queryKeyValue: boolean; readonly output: boolean; readonly mlp: boolean };
  /** Query, key and value are one projection, and so are gate and up (Phi-3). */
  readonly fused: boolean;
}

/** @throws EverloraError of this form wherever a config.json is found wanting */
export function configFault(where: string, message: string, param = "config.json"): EverloraError {
  return new EverloraError("invalid_model_folder", `${where}: ${message}`, { param });
}
