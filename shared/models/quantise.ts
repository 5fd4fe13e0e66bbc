/**
 * Frozen weights in 8 or 4 bits. Two layouts:
 * - rows ("q8"; "r8" where they only serve): one scale per output, integer products over whole rows, forwards and in training (from a transposed copy of
 *   the same numbers) backwards. Eight rows cost half as much again as one;
 * - blocks ("n4"): one scale per block of inputs, as ONNX Runtime's MatMulNBits reads them. The least memory, and the fastest for one row; eight cost five
 *   times as much.
 * Plain numbers only: what multiplies by them is in quantised_product.ts.
 */
import type { Quantization } from "./quantization.ts";

/** Inputs that share a scale: what 4-bit formats have settled on. */
export const blockSize = 32;
/**
 * The same where weights only serve: with scales in float32 that is 4.5 bits a weight, as many as GGML's Q4_0 has with 32 and scales in float16. A product
 * of one row takes a fifth less time than by blocks of 32.
 */
export const servingBlockSize = 64;

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
  /** [rows, blocks, block / 2]: two numbers a byte, the first in the low half. */
  readonly packed: Uint8Array;
  /** [rows, blocks] */
  readonly scales: Float32Array;
}

/**
 * @param weight [rows, columns]; blocks of `size` go along the columns, the last one filled up with zeros
 * A block is scaled so that its number of largest magnitude becomes −8, of the sixteen the one that has no opposite (as GGML's Q4_0 does).
 */
export function quantiseBlocks(weight: Float32Array, rows: number, columns: number, size = blockSize): Blocks {
  const count = Math.ceil(columns / size);
  const [packed, scales] = [new Uint8Array((rows * count * size) / 2), new Float32Array(rows * count)];
  const levels = new Uint8Array(size);
  for (let row = 0; row < rows; row++) {
    for (let index = 0; index < count; index++) {
      const from = row * columns + index * size;
      const filled = Math.min(size, columns - index * size);
      const scale = extreme(weight, from, from + filled) / -8;
      const target = row * count + index;
      scales[target] = scale;
      levels.fill(8);
      if (scale !== 0) for (let at = 0; at < filled; at++) levels[at] = Math.min(15, Math.max(0, Math.round((weight[from + at] ?? 0) / scale) + 8));
      for (let at = 0; at < size; at += 2) packed[(target * size + at) / 2] = (levels[at] ?? 0) | ((levels[at + 1] ?? 0) << 4);
    }
  }
  return { packed, scales };
}

/** What the blocks stand for, [rows, columns]: the inverse of `quantiseBlocks`, but for what rounding lost. */
export function dequantiseBlocks({ packed, scales }: Blocks, rows: number, columns: number, size = blockSize): Float32Array {
  const count = Math.ceil(columns / size);
  return Float32Array.from({ length: rows * columns }, (_, place) => {
    const [row, column] = [Math.floor(place / columns), place % columns];
    const at = (row * count + Math.floor(column / size)) * size + (column % size);
    const byte = packed[at >> 1] ?? 0;
    return ((at % 2 === 0 ? byte & 15 : byte >> 4) - 8) * (scales[Math.floor(at / size)] ?? 0);
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

/** `batches`: serves with 8-bit rows beside the 4-bit blocks, for what has many rows: prompts, and several answers at once. */
export type Use = "training" | "serving" | "batches";

export const blockSizeFor = (use: Use): number => (use === "training" ? blockSize : servingBlockSize);

/** Without a way back: for the head in training, whose gradient goes through the float32 table. */
export const forwardsOnly = (name: string) => !name.endsWith(".q8t");

/** The names of the blocks, and of the rows that only serve. */
export const isBlocks = (name: string) => /\.n4t?s?$/.test(name);
export const isServingRows = (name: string) => /\.r8s?$/.test(name);

/** Which tensors take the place of a weight [outputs, inputs]. */
export function quantisedTensors(name: string, [outputs, inputs]: readonly [number, number], quantization: Exclude<Quantization, "none">, use: Use): QuantisedTensor[] {
  const rows: QuantisedTensor[] = [
    { name: `${name}.r8`, shape: [inputs, outputs], dtype: "int8" },
    { name: `${name}.r8s`, shape: [outputs], dtype: "float32" },
  ];
  const size = blockSizeFor(use);
  const blocked = (suffix: string, across: number, along: number): QuantisedTensor[] => {
    const count = Math.ceil(along / size);
    return [
      { name: `${name}.n4${suffix}`, shape: [across, count, size / 2], dtype: "uint8" },
      { name: `${name}.n4${suffix}s`, shape: [across, count], dtype: "float32" },
    ];
  };
  if (quantization === "int8") {
    if (use !== "training") return rows;
    return [
      { name: `${name}.q8`, shape: [inputs, outputs], dtype: "int8" },
      { name: `${name}.q8t`, shape: [outputs, inputs], dtype: "int8" },
      { name: `${name}.q8s`, shape: [outputs], dtype: "float32" },
    ];
  }
  return [...blocked("", outputs, inputs), ...(use === "training" ? blocked("t", inputs, outputs) : use === "batches" ? rows : [])];
}

/** The values of `quantisedTensors`, in their order. */
export function quantisedValues(weight: Float32Array, [outputs, inputs]: readonly [number, number], quantization: Exclude<Quantization, "none">, use: Use): (Int8Array | Uint8Array | Float32Array)[] {
  if (quantization === "int8") {
    const { values, transposed, scales } = quantiseRows(weight, outputs, inputs);
    return use === "training" ? [transposed, values, scales] : [transposed, scales];
  }
  const size = blockSizeFor(use);
  const blocks = quantiseBlocks(weight, outputs, inputs, size);
  if (use === "serving") return [blocks.packed, blocks.scales];
  // What is made beside the blocks stands for the numbers that the blocks stand for, as well as a second rounding can say it.
  const kept = dequantiseBlocks(blocks, outputs, inputs, size);
  if (use === "batches") {
    const { transposed, scales } = quantiseRows(kept, outputs, inputs);
    return [blocks.packed, blocks.scales, transposed, scales];
  }
  const turned = new Float32Array(kept.length);
  for (let row = 0; row < outputs; row++) for (let at = 0; at < inputs; at++) turned[at * outputs + row] = kept[row * inputs + at] ?? 0;
  const back = quantiseBlocks(turned, inputs, outputs);
  return [blocks.packed, blocks.scales, back.packed, back.scales];
}
