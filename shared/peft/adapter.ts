/**
 * Adapter tensors ↔ PEFT's two files. Reading is strict: every tensor must belong to a projection of the base model and have its shape, none may be
 * missing, no value may be NaN or infinite, and an adapter whose B is all zero is refused, because it would change nothing in silence.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { EverloraError, describeIssues, messageOf } from "../errors/errors.ts";
import type { ModelConfig } from "../models/config.ts";
import { readSafetensors, readSafetensorsSync, writeSafetensors, type NamedTensor } from "../models/safetensors.ts";
import { peftConfigSchema, type PeftConfig } from "./config.ts";
import { configFile, weightsFile } from "./manifest.ts";
import { targetedModules } from "./targets.ts";

export { allTargets, modulesOf, type LoraModule } from "./targets.ts";

export interface Adapter {
  readonly config: PeftConfig;
  /** By module name, in the order of the model's modules. Ranks and scales may differ. */
  readonly modules: ReadonlyMap<string, AdapterModule & { readonly scale: number }>;
}

/** A [rank, in] and B [out, rank] of one module. */
export interface AdapterModule {
  readonly A: Float32Array;
  readonly B: Float32Array;
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
}

/** adapter_model.safetensors: float32, keys as PEFT's get_peft_model_state_dict gives them. */
export function encodeAdapterWeights(modules: ReadonlyMap<string, AdapterModule>): Uint8Array {
  const tensors = new Map<string, NamedTensor>();
  for (const [name, { A, B, rank, inputs, outputs }] of modules) {
    tensors.set(`base_model.model.${name}.lora_A.weight`, { shape: [rank, inputs], values: A });
    tensors.set(`base_model.model.${name}.lora_B.weight`, { shape: [outputs, rank], values: B });
  }
  return writeSafetensors(tensors, "F32");
}

/** @throws EverloraError adapter_incompatible when the adapter is no LoRA for this base; adapter_corrupted when its files are damaged */
export async function readAdapter(folder: string, model: ModelConfig): Promise<Adapter> {
  const config = parseConfig(folder, await readFile(join(folder, configFile), "utf8").catch((error: unknown) => unreadable(folder, error)));
  return assemble(folder, config, model, await readSafetensors(join(folder, weightsFile)).catch(damaged));
}

/** The same at one go, for a process that stands still anyway while it reads: each turn of a busy event loop in between costs milliseconds. @throws as `readAdapter` */
export function readAdapterSync(folder: string, model: ModelConfig): Adapter {
  const now = <T>(read: () => T, fail: (error: unknown) => never): T => {
    try {
      return read();
    } catch (error) {
      return fail(error);
    }
  };
  const config = parseConfig(folder, now(() => readFileSync(join(folder, configFile), "utf8"), (error) => unreadable(folder, error)));
  return assemble(folder, config, model, now(() => readSafetensorsSync(join(folder, weightsFile)), damaged));
}

function assemble(folder: string, config: PeftConfig, model: ModelConfig, tensors: Map<string, NamedTensor>): Adapter {
  const targeted = inFolder(folder, () => targetedModules(config, model));
  const modules = new Map(
    targeted.map(({ name, inputs, outputs, rank, scale }) => {
      const A = take(folder, tensors, `base_model.model.${name}.lora_A.weight`, [rank, inputs]);
      const B = take(folder, tensors, `base_model.model.${name}.lora_B.weight`, [outputs, rank]);
      return [name, { A, B, rank, scale, inputs, outputs }] as const;
    }),
  );
  const [extra] = tensors.keys();
  if (extra !== undefined) throw incompatible(folder, `${weightsFile} has ${tensors.size} tensors that the base model has no place for, the first is ${JSON.stringify(extra)}`);
  if ([...modules.values()].every(({ B }) => B.every((value) => value === 0))) throw incompatible(folder, "every B is zero, so the adapter changes nothing; it was never trained, or its weights were lost");
  return { config, modules };
}

function take(folder: string, tensors: Map<string, NamedTensor>, name: string, shape: readonly [number, number]): Float32Array {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw incompatible(folder, `${weightsFile} lacks ${name}`);
  if (tensor.shape.length !== 2 || tensor.shape[0] !== shape[0] || tensor.shape[1] !== shape[1]) throw incompatible(folder, `${name} has shape [${tensor.shape.join(",")}], the base model needs [${shape.join(",")}]`);
  const bad = firstOdd(tensor.values);
  if (bad >= 0) throw new EverloraError("adapter_corrupted", `${folder}: ${name} has the value ${tensor.values[bad]} at element ${bad}`);
  tensors.delete(name);
  return tensor.values;
}

/** Where the first value is that is no finite number, or -1. A loop: findIndex with a callback takes most of an adapter's load. */
function firstOdd(values: Float32Array): number {
  for (let at = 0; at < values.length; at++) if (!Number.isFinite(values[at])) return at;
  return -1;
}

function damaged(error: unknown): never {
  throw new EverloraError("adapter_corrupted", messageOf(error), { cause: error });
}

function unreadable(folder: string, error: unknown): never {
  throw new EverloraError("adapter_corrupted", `${folder}: ${configFile} cannot be read: ${messageOf(error)}`, { cause: error });
}

function parseConfig(folder: string, text: string): PeftConfig {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return unreadable(folder, error);
  }
  const parsed = peftConfigSchema.safeParse(json);
  if (!parsed.success) throw incompatible(folder, `${configFile}: ${describeIssues(parsed.error.issues, configFile)}`);
  return parsed.data;
}

function inFolder<T>(folder: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof EverloraError) throw new EverloraError(error.code, `${folder}: ${error.message}`, { cause: error });
    throw error;
  }
}

const incompatible = (folder: string, message: string) => new EverloraError("adapter_incompatible", `${folder}: ${message}`);
