/** How much memory a training step takes, and whether there is enough: what decides on gradient checkpointing when nobody did. */
import { totalmem } from "node:os";
import type { ModelConfig } from "../models/config.ts";
import type { Quantization } from "../models/quantization.ts";
import { projections } from "../models/layout.ts";

export interface StepShape {
  /** Packed sequences computed together. */
  readonly rows: number;
  /** Positions of each. */
  readonly length: number;
  readonly dropout: number;
}

/**
 * Bytes of activations that a step keeps for its backward pass, with and without recomputation. An estimate: what each block keeps was counted on the
 * graph (ten arrays of the hidden size, five of the MLP's, and the attention's shares), and compared with measured peaks (docs/training.md).
 */
export function activationBytes(config: ModelConfig, { rows, length, dropout }: StepShape): { readonly plain: number; readonly recomputed: number } {
  const positions = rows * length;
  const inputs = projections(config).reduce((sum, [, [, width]]) => sum + width, 0);
  const masked = dropout > 0 ? 1.25 * inputs : 0; // the masked input in float32, the mask in bytes
  const block = 4 * positions * (config.heads * length + 5 * config.intermediateSize + 10 * config.hiddenSize + masked);
  const inputsOfBlocks = 4 * positions * config.hiddenSize * config.layers;
  // The block that is being computed again holds what it keeps, and the gradients of it.
  return { plain: block * config.layers, recomputed: inputsOfBlocks + 2 * block };
}

/** Bytes of all weights as they are mapped: float32, or the blocks' linear layers in 2 × 8 or 2 × 4 bits and their scales (one way forwards, one back). */
export function weightBytes(config: ModelConfig, quantization: Quantization = "none"): number {
  const linear = projections(config).reduce((sum, [, [outputs, inputs]]) => sum + outputs * inputs, 0);
  const bytes = { none: 4, int8: 2, int4: 1.25 }[quantization];
  return bytes * config.layers * linear + 4 * config.vocabSize * config.hiddenSize * (config.tiedHead ? 1 : 2);
}

/** Each of the functions that read prompts and decode batches, with and without adapters, has a packed copy of its 8-bit weights. */
const wideFunctions = 4;

/** Whether serving may have 8-bit weights beside the 4-bit ones: where they take no more than a tenth of all memory. */
export function batchesFit(config: ModelConfig, memory: number): boolean {
  const linear = projections(config).reduce((sum, [, [outputs, inputs]]) => sum + outputs * inputs, 0);
  return wideFunctions * (config.layers * linear + config.vocabSize * config.hiddenSize) <= memory / 10;
}

/** Bytes that this process may still take: the machine's, or those of its control group where that has fewer. */
export const freeMemory = (): number => process.availableMemory();

/** All of it: what doesn't change from one attempt at a run to the next. */
export function machineMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/** What is left to others and to what the estimate forgets. */
const headroom = 0.7;

export interface MemoryPlan {
  readonly recompute: boolean;
  /** For the run's log. */
  readonly reason: string;
}

/** @param setting GRADIENT_CHECKPOINTING; @param ranOut an earlier attempt at the same run ended for want of memory */
export function planMemory(setting: "auto" | "on" | "off", config: ModelConfig, shape: StepShape, free: number, ranOut: boolean, quantization: Quantization = "none"): MemoryPlan {
  if (setting !== "auto") return { recompute: setting === "on", reason: `GRADIENT_CHECKPOINTING=${setting}` };
  if (ranOut) return { recompute: true, reason: "an earlier attempt ran out of memory" };
  const { plain, recomputed } = activationBytes(config, shape);
  const fits = plain + weightBytes(config, quantization) <= headroom * free;
  return { recompute: !fits, reason: `a step needs about ${megabytes(plain)} MB for activations without it and ${megabytes(recomputed)} MB with it, the weights ${megabytes(weightBytes(config, quantization))} MB; ${megabytes(free)} MB are free` };
}

/**
 * Whether weights are copied into the layout that products like best: memory for speed, one copy forwards and one back. Decided by the whole machine's
 * memory, never by what is free: the copies' products differ in the last bits, and an attempt that goes on from another's checkpoint has to end in
 * the same ones (save after a want of memory).
 * @param machine its memory in bytes; @param ranOut an earlier attempt at the same run ended for want of memory
 */
export function packsWeights(config: ModelConfig, shape: StepShape, machine: number, ranOut: boolean, quantization: Quantization): boolean {
  return !ranOut && quantization !== "int4" && 3 * weightBytes(config, quantization) + activationBytes(config, shape).plain <= 0.5 * machine;
}

/** The runtime's words, V8's, and the C++ library's for memory that was not there. */
export function isOutOfMemory(message: string): boolean {
  return /bad_alloc|failed to allocate memory|out of memory|array buffer allocation failed|invalid array (buffer )?length|bad allocation/i.test(message);
}

const megabytes = (bytes: number) => Math.round(bytes / 2 ** 20);
