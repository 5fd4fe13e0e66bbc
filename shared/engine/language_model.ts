/**
 * A base model ready to be compiled into functions: config, tokenizer, and weights mapped from one file. Opening is cheap; nothing runs yet.
 * Lives in a child process only (runtime.ts says why).
 */
import { basename, dirname, join } from "node:path";
import { EverloraError } from "../errors/errors.ts";
import { storedTensors, storedValues } from "./stored_weights.ts";
import { openModelFolder, type ModelFolder } from "../models/folder.ts";
import type { Quantization } from "../models/quantization.ts";
import type { Use } from "../models/quantise.ts";
import type { Lora, Weights } from "../models/linear.ts";
import type { Tensor } from "../models/tfjs.ts";
import type { Adapter } from "../peft/adapter.ts";
import type { CacheKey } from "../tensor/compile_cache.ts";
import { openBackend, type Backend } from "../tensor/open_backend.ts";
import type { Device } from "../tensor/runtime.ts";
import { mapWeights, placeWeights } from "../tensor/weights.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { batchesFit, machineMemory } from "./memory.ts";
import type { Parameter } from "./step.ts";

export interface LanguageModel {
  readonly folder: ModelFolder;
  readonly tokenizer: Tokenizer;
  readonly backend: Backend;
  readonly weights: Weights;
  /** Where functions of these weights are kept compiled, and what names the weights. */
  readonly compiled: CacheKey;
}

export interface OpenOptions {
  /** Default none: float32, the numbers of the folder. */
  readonly quantization?: Quantization;
  /** Quantised weights lie differently for one and the other; weights that are not don't care. Default training; `serving` in 4 bits becomes `batches` where memory is plentiful. */
  readonly use?: Use;
}

/**
 * @param compiledFolder where float32 weights and compiled graphs are kept between starts
 * @throws EverloraError invalid_model_folder
 */
export async function openLanguageModel(path: string, compiledFolder: string, device: Device, { quantization = "none", use: wanted = "training" }: OpenOptions = {}): Promise<LanguageModel> {
  const folder = await openModelFolder(path);
  const use = wanted === "serving" && quantization === "int4" && batchesFit(folder.config, machineMemory()) ? "batches" : wanted;
  const tokenizer = await loadTokenizer(path, folder.config.endTokens);
  if (tokenizer.vocabularySize > folder.config.vocabSize) {
    throw new EverloraError("invalid_model_folder", `${path}: the tokenizer has ids up to ${tokenizer.vocabularySize - 1}, the embedding has ${folder.config.vocabSize} rows`, { param: "BASE_MODEL" });
  }
  const backend = openBackend(device);
  const layout = await placeWeights(join(compiledFolder, folder.name), folder.sha256, storedTensors(folder.config, quantization, use), () => storedValues(folder, quantization, use));
  return { folder, tokenizer, backend, weights: mapWeights(backend, layout), compiled: { folder: dirname(layout.path), key: basename(dirname(layout.path)) } };
}

/** An adapter as the inputs of compiled functions: each module's scale is folded into B, so that adapters of one shape share one graph whatever their alpha. */
export function adapterParameters(adapter: Adapter): Parameter[] {
  return [...adapter.modules].flatMap(([name, { A, B, rank, scale, inputs, outputs }]) => [
    { name: `${name}.A`, shape: [rank, inputs], values: A },
    { name: `${name}.B`, shape: [outputs, rank], values: scale === 1 ? B : B.map((value) => value * scale) },
  ]);
}

/** Which graphs an adapter can use: those compiled for the same modules and ranks. */
export function signatureOf(parameters: readonly Parameter[]): string {
  return parameters.map(({ name, shape }) => `${name}[${shape.join(",")}]`).join(" ");
}

/** Puts traced tensors, in the order of `adapterParameters`, back into their modules. */
export function toLora(parameters: readonly Parameter[], tensors: readonly Tensor[], scale: number): Lora | null {
  if (parameters.length === 0) return null;
  const modules: Record<string, { A: Tensor; B: Tensor }> = {};
  for (let at = 0; at + 1 < parameters.length; at += 2) {
    const [name, A, B] = [parameters[at]?.name.replace(/\.A$/, ""), tensors[at], tensors[at + 1]];
    if (name === undefined || A === undefined || B === undefined) throw new RangeError("an adapter's tensors come in pairs");
    modules[name] = { A, B };
  }
  return { scale, modules };
}
