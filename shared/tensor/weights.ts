/**
 * Frozen weights as one file of float32 that every compiled graph of every process maps: ONNX Runtime maps external data whose offset is a
 * multiple of the page size, so the weights are in memory once, however many graphs and children use them.
 */
import { createHash } from "node:crypto";
import { open, mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs-core";
import { syncDirectory } from "../files/atomic.ts";
import type { OnnxBackend } from "./backend.ts";
import { sizeOf, type Shape } from "./graph.ts";

const page = 4_096;

export interface Layout {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, { readonly shape: Shape; readonly offset: number; readonly bytes: number }>;
}

/**
 * Writes the file unless it is there already (its name is the layout's and the weights' identity), and says where each tensor lies.
 * @param identity of the weights: the same identity must mean the same bytes; @param load called only when the file has to be written
 */
export async function placeWeights(folder: string, identity: string, shapes: ReadonlyMap<string, Shape>, load: () => Promise<ReadonlyMap<string, { values: Float32Array }>>): Promise<Layout> {
  let end = 0;
  const tensors = new Map([...shapes].map(([name, shape]) => {
    const entry = { shape, offset: end, bytes: sizeOf(shape) * 4 };
    end = Math.ceil((end + entry.bytes) / page) * page;
    return [name, entry] as const;
  }));
  const home = join(folder, createHash("sha256").update(identity).update(JSON.stringify([...tensors])).digest("hex").slice(0, 16));
  const path = join(home, "weights.f32");
  if ((await stat(path).catch(() => null))?.size !== end) {
    await mkdir(home, { recursive: true });
    const weights = await load();
    const temporary = `${path}.${process.pid}`;
    const file = await open(temporary, "w");
    try {
      for (const [name, { offset }] of tensors) {
        const values = weights.get(name)?.values;
        if (values === undefined) throw new RangeError(`no values for ${name}`);
        await file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), 0, values.byteLength, offset);
      }
      await file.truncate(end);
      await file.sync();
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncDirectory(home);
  }
  return { path, tensors };
}

/** Tensors that stand for the file's regions; usable in any number of compiled functions. */
export function mapWeights(backend: OnnxBackend, layout: Layout): Record<string, Tensor> {
  return Object.fromEntries([...layout.tensors].map(([name, { shape, offset, bytes }]) => [name, backend.tensorOf({ kind: "file", path: layout.path, offset, bytes }, shape, "float32")]));
}
