/**
 * Adapter tensors ↔ PEFT's two files. Reading is strict: every tensor must belong to a projection of the base model and have its shape, none may be
 * missing, no value may be NaN or infinite, and an adapter whose B is all zero is refused, because it would change nothing in silence.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { EverloraError, describeIssues, messageOf } from "../errors/errors.ts";
import type { ModelConfig } from "../models/config.ts";
import { projections } from "../models/layout.ts";
import { readSafetensors, writeSafetensors, type NamedTensor } from "../models/safetensors.ts";
import { peftConfigSchema, scaleOf, type PeftConfig } from "./config.ts";
import { configFile, weightsFile } from "./manifest.ts";

export interface LoraModule {
  /** `model.layers.0.self_attn.q_proj` */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

export interface Adapter {
  readonly config: PeftConfig;
  readonly scale: number;
  /** A [r, in] and B [out, r] by module name, in the order of the model's modules. */
  readonly modules: ReadonlyMap<string, { readonly A: Float32Array; readonly B: Float32Array; readonly rank: number; readonly inputs: number; readonly outputs: number }>;
}

/** The modules of a model whose last name is one of `targets`, layer by layer. */
export function modulesOf(config: ModelConfig, targets: readonly string[]): LoraModule[] {
  return Array.from({ length: config.layers }, (_, layer) =>
    projections(config)
      .filter(([name]) => targets.some((target) => name === target || name.endsWith(`.${target}`)))
      .map(([name, [outputs, inputs]]) => ({ name: `model.layers.${layer}.${name}`, inputs, outputs })),
  ).flat();
}

/** The names that PEFT's target_modules would have: q_proj, k_proj, … */
export function allTargets(config: ModelConfig): string[] {
  return projections(config).map(([name]) => name.slice(name.lastIndexOf(".") + 1));
}

/** adapter_model.safetensors: float32, keys as PEFT's get_peft_model_state_dict gives them. */
export function encodeAdapterWeights(modules: ReadonlyMap<string, { A: Float32Array; B: Float32Array; rank: number; inputs: number; outputs: number }>): Uint8Array {
  const tensors = new Map<string, NamedTensor>();
  for (const [name, { A, B, rank, inputs, outputs }] of modules) {
    tensors.set(`base_model.model.${name}.lora_A.weight`, { shape: [rank, inputs], values: A });
    tensors.set(`base_model.model.${name}.lora_B.weight`, { shape: [outputs, rank], values: B });
  }
  return writeSafetensors(tensors, "F32");
}

/** @throws EverloraError adapter_incompatible when the adapter is no LoRA for this base; adapter_corrupted when its files are damaged */
export async function readAdapter(folder: string, model: ModelConfig): Promise<Adapter> {
  const config = await readConfig(folder);
  const targets = typeof config.target_modules === "string" ? [config.target_modules] : config.target_modules;
  const tensors = await readSafetensors(join(folder, weightsFile)).catch((error: unknown) => {
    throw new EverloraError("adapter_corrupted", messageOf(error), { cause: error });
  });
  const expected = modulesOf(model, targets);
  if (expected.length === 0) throw incompatible(folder, `target_modules ${JSON.stringify(targets)} name no projection of the base model`);
  if (Object.keys(config.rank_pattern ?? {}).length > 0 || Object.keys(config.alpha_pattern ?? {}).length > 0) throw incompatible(folder, "rank_pattern and alpha_pattern are not supported");
  const modules = new Map(
    expected.map(({ name, inputs, outputs }) => {
      const A = take(folder, tensors, `base_model.model.${name}.lora_A.weight`, [config.r, inputs]);
      const B = take(folder, tensors, `base_model.model.${name}.lora_B.weight`, [outputs, config.r]);
      return [name, { A, B, rank: config.r, inputs, outputs }] as const;
    }),
  );
  const [extra] = tensors.keys();
  if (extra !== undefined) throw incompatible(folder, `${weightsFile} has ${tensors.size} tensors that the base model has no place for, the first is ${JSON.stringify(extra)}`);
  if ([...modules.values()].every(({ B }) => B.every((value) => value === 0))) throw incompatible(folder, "every B is zero, so the adapter changes nothing; it was never trained, or its weights were lost");
  return { config, scale: scaleOf(config), modules };
}

function take(folder: string, tensors: Map<string, NamedTensor>, name: string, shape: readonly [number, number]): Float32Array {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw incompatible(folder, `${weightsFile} lacks ${name}`);
  if (tensor.shape.length !== 2 || tensor.shape[0] !== shape[0] || tensor.shape[1] !== shape[1]) throw incompatible(folder, `${name} has shape [${tensor.shape.join(",")}], the base model needs [${shape.join(",")}]`);
  const bad = tensor.values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new EverloraError("adapter_corrupted", `${folder}: ${name} has the value ${tensor.values[bad]} at element ${bad}`);
  tensors.delete(name);
  return tensor.values;
}

async function readConfig(folder: string): Promise<PeftConfig> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(join(folder, configFile), "utf8"));
  } catch (error) {
    throw new EverloraError("adapter_corrupted", `${folder}: ${configFile} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  const parsed = peftConfigSchema.safeParse(json);
  if (!parsed.success) throw incompatible(folder, `${configFile}: ${describeIssues(parsed.error.issues, configFile)}`);
  return parsed.data;
}

const incompatible = (folder: string, message: string) => new EverloraError("adapter_incompatible", `${folder}: ${message}`);
