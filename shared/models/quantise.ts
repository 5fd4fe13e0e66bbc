/**
 * Frozen weights in 8 or 4 bits. Two layouts, because what trains and what serves multiply by them differently:
 * - rows ("q8"): one scale per output, integer products over whole rows, forwards and (from a transposed copy of the same numbers) backwards;
 * - blocks ("n8", "n4"): one scale per block of inputs, as ONNX Runtime's MatMulNBits reads them.
 * Plain numbers only: what multiplies by them is in quantised_product.ts.
 */
import type { Quantization } from "./quantization.ts";

/** Inputs that share a scale. 32 is what 4-bit formats have settled on; 8 bits need fewer. */
export const blockSize = { 8: 128, 4: 32 } as const;

export interface Rows {
  /** [out, in] */
  readonly values: Int8Array;
  /** [in, out] */
  readonly transposed: Int8Array;
  /** [out]: weight = value · scale. */
  readonly scales: Float32Array;
}

/** @param weight [outputs, inputs], row by row; each row is scaled so that its largest number becomes ±127 */
export function quantiseRows(weight: Float32Array, outputs: number, inputs: number): Rows {
  const [values, transposed, scales] = [new Int8Array(outputs * inputs), new Int8Array(outputs * inputs), new Float32Array(outputs)];
  for (let row = 0; row < outputs; row++) {
    const from = row * inputs;
    const scale = largest(weight, from, from + inputs) / 127;
    scales[row] = scale;
    if (scale === 0) continue;
    for (let at = 0; at < inputs; at++) {
      const value = Math.round((weight[from + at] ?? 0) / scale);
      values[from + at] = value;
      transposed[at * outputs + row] = value;
    }
  }
  return { values, transposed, scales };
}

export interface Blocks {
  /** [rows, blocks, block · bits / 8]; two numbers a byte at 4 bits, the first in the low half. */
  readonly packed: Uint8Array;
  /** [rows, blocks] */
  readonly scales: Float32Array;
}

/**
 * @param weight [rows, columns]; blocks go along the columns, the last one filled up with zeros
 * At 4 bits a block is scaled so that its number of largest magnitude becomes −8, of the sixteen the one that has no opposite (as GGML's Q4_0 does).
 */
export function quantiseBlocks(weight: Float32Array, rows: number, columns: number, bits: 8 | 4): Blocks {
  const block = blockSize[bits];
  const count = Math.ceil(columns / block);
  const [packed, scales] = [new Uint8Array((rows * count * block * bits) / 8), new Float32Array(rows * count)];
  const zero = 2 ** (bits - 1);
  const levels = new Uint8Array(block);
  for (let row = 0; row < rows; row++) {
    for (let index = 0; index < count; index++) {
      const from = row * columns + index * block;
      const size = Math.min(block, columns - index * block);
      const scale = bits === 8 ? largest(weight, from, from + size) / 127 : extreme(weight, from, from + size) / -8;
      const target = row * count + index;
      scales[target] = scale;
      levels.fill(zero);
      if (scale !== 0) for (let at = 0; at < size; at++) levels[at] = Math.min(2 * zero - 1, Math.max(0, Math.round((weight[from + at] ?? 0) / scale) + zero));
      if (bits === 8) packed.set(levels, target * block);
      else for (let at = 0; at < block; at += 2) packed[(target * block + at) / 2] = (levels[at] ?? 0) | ((levels[at + 1] ?? 0) << 4);
    }
  }
  return { packed, scales };
}

/** What the blocks stand for, [rows, columns]: the inverse of `quantiseBlocks`, but for what rounding lost. */
export function dequantiseBlocks({ packed, scales }: Blocks, rows: number, columns: number, bits: 8 | 4): Float32Array {
  const block = blockSize[bits];
  const count = Math.ceil(columns / block);
  const zero = 2 ** (bits - 1);
  return Float32Array.from({ length: rows * columns }, (_, place) => {
    const [row, column] = [Math.floor(place / columns), place % columns];
    const at = (row * count + Math.floor(column / block)) * block + (column % block);
    const byte = packed[bits === 8 ? at : at >> 1] ?? 0;
    const level = bits === 8 ? byte : at % 2 === 0 ? byte & 15 : byte >> 4;
    return (level - zero) * (scales[Math.floor(at / block)] ?? 0);
  });
}

function largest(values: Float32Array, from: number, end: number): number {
  let most = 0;
  for (let at = from; at < end; at++) most = Math.max(most, Math.abs(values[at] ?? 0));
  return most;
}

/** The number of largest magnitude, with its sign. */
function extreme(values: Float32Array, from: number, end: number): number {
  let most = 0;
  for (let at = from; at < end; at++) if (Math.abs(values[at] ?? 0) > Math.abs(most)) most = values[at] ?? 0;
  return most;
}

/** A tensor of the quantised file. */
export interface QuantisedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: "int8" | "uint8" | "float32";
}

export type Use = "training" | "serving";

/** Without a way back: for the head in training, whose gradient goes through the float32 table. */
export const forwardsOnly = (name: string) => !name.endsWith(".q8t");

/** Which tensors take the place of a weight [outputs, inputs]. */
export function quantisedTensors(name: string, [outputs, inputs]: readonly [number, number], quantization: Exclude<Quantization, "none">, use: Use): QuantisedTensor[] {
  if (quantization === "int8" && use === "training") {
    return [
      { name: `${name}.q8`, shape: [inputs, outputs], dtype: "int8" },
      { name: `${name}.q8t`, shape: [outputs, inputs], dtype: "int8" },
      { name: `${name}.q8s`, shape: [outputs], dtype: "float32" },
    ];
  }
  const bits = quantization === "int8" ? 8 : 4;
  const blocked = (suffix: string, rows: number, columns: number): QuantisedTensor[] => {
    const count = Math.ceil(columns / blockSize[bits]);
    return [
      { name: `${name}.n${bits}${suffix}`, shape: [rows, count, (blockSize[bits] * bits) / 8], dtype: "uint8" },
      { name: `${name}.n${bits}${suffix}s`, shape: [rows, count], dtype: "float32" },
    ];
  };
  return [...blocked("", outputs, inputs), ...(use === "training" ? blocked("t", inputs, outputs) : [])];
}

/** The values of `quantisedTensors`, in their order. */
export function quantisedValues(weight: Float32Array, [outputs, inputs]: readonly [number, number], quantization: Exclude<Quantization, "none">, use: Use): (Int8Array | Uint8Array | Float32Array)[] {
  if (quantization === "int8" && use === "training") {
    const { values, transposed, scales } = quantiseRows(weight, outputs, inputs);
    return [transposed, values, scales];
  }
  const bits = quantization === "int8" ? 8 : 4;
  const blocks = quantiseBlocks(weight, outputs, inputs, bits);
  if (use === "serving") return [blocks.packed, blocks.scales];
  // The gradient goes through the weight that the forward pass used, as well as a second rounding can say it.
  const kept = dequantiseBlocks(blocks, outputs, inputs, bits);
  const turned = new Float32Array(kept.length);
  for (let row = 0; row < outputs; row++) for (let at = 0; at < inputs; at++) turned[at * outputs + row] = kept[row * inputs + at] ?? 0;
  const back = quantiseBlocks(turned, inputs, outputs, bits);
  return [blocks.packed, blocks.scales, back.packed, back.scales];
}
