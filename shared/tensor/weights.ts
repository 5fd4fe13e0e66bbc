/**
 * Frozen weights as one file that every compiled graph of every process maps: ONNX Runtime maps external data whose offset is a
 * multiple of the page size, so the weights are in memory once, however many graphs and children use them.
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs-core";
import { createFileAtomic, removeAbandonedTemporaries } from "../files/atomic.ts";
import { writeFully } from "../files/chunks.ts";
import { makeFolder } from "../files/folder.ts";
import type { OnnxBackend } from "./backend.ts";
import type { EagerBackend } from "./eager.ts";
import { bytesPerElement, sizeOf, type DType, type Shape, type TypedArray } from "./graph.ts";

const page = 4_096;

export interface StoredType {
  readonly shape: Shape;
  readonly dtype: DType;
}

export interface Layout {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredType & { readonly offset: number; readonly bytes: number }>;
}

/**
 * Writes the file unless it is there already (its name is the layout's and the weights' identity), and says where each tensor lies.
 * @param identity of the weights: the same identity must mean the same bytes
 * @param load called only when the file has to be written; tensors may come in any order, and are in memory one at a time
 * @throws RangeError when a tensor is missing or of another size
 */
export async function placeWeights(folder: string, identity: string, types: ReadonlyMap<string, StoredType>, load: () => AsyncIterable<readonly [string, TypedArray]>): Promise<Layout> {
  const { tensors, end } = placesOf(types);
  const home = join(folder, createHash("sha256").update(identity).update(JSON.stringify([...tensors])).digest("hex").slice(0, 16));
  const path = join(home, "weights.bin");
  if ((await stat(path).catch(() => null))?.size !== end) {
    await makeFolder(home);
    await removeAbandonedTemporaries(home);
    await write(path, end, tensors, load());
  }
  return { path, tensors };
}

/** Writes the file at `path`, whatever is there. @throws RangeError as placeWeights */
export async function writeWeights(path: string, types: ReadonlyMap<string, StoredType>, load: () => AsyncIterable<readonly [string, TypedArray]>): Promise<Layout> {
  const { tensors, end } = placesOf(types);
  await write(path, end, tensors, load());
  return { path, tensors };
}

/** One tensor behind the other, each at the beginning of a page. */
function placesOf(types: ReadonlyMap<string, StoredType>): { tensors: Layout["tensors"]; end: number } {
  let end = 0;
  const tensors = new Map([...types].map(([name, { shape, dtype }]) => {
    const entry = { shape, dtype, offset: end, bytes: sizeOf(shape) * bytesPerElement[dtype] };
    end = Math.ceil((end + entry.bytes) / page) * page;
    return [name, entry] as const;
  }));
  return { tensors, end };
}

async function write(path: string, end: number, tensors: Layout["tensors"], weights: AsyncIterable<readonly [string, TypedArray]>): Promise<void> {
  await createFileAtomic(path, async (file) => {
    const missing = new Set(tensors.keys());
    for await (const [name, values] of weights) {
      const place = tensors.get(name);
      if (place === undefined) throw new RangeError(`there is no place for ${name}`);
      if (values.byteLength !== place.bytes) throw new RangeError(`${name} has ${values.byteLength} bytes, its shape needs ${place.bytes}`);
      await writeFully(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), place.offset);
      missing.delete(name);
    }
    const [first] = missing;
    if (first !== undefined) throw new RangeError(`no values for ${first}`);
    await file.truncate(end);
  });
}

/** Tensors that stand for the file's regions (an eager backend's hold their values); usable in any number of compiled functions. */
export function mapWeights(backend: OnnxBackend | EagerBackend, layout: Layout): Record<string, Tensor> {
  return Object.fromEntries([...layout.tensors].map(([name, { shape, dtype, offset, bytes }]) => [name, backend.tensorOf({ kind: "file", path: layout.path, offset, bytes }, shape, dtype)]));
}
