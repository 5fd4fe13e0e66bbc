/**
 * Frozen weights as one file of float32 that every compiled graph of every process maps: ONNX Runtime maps external data whose offset is a
 * multiple of the page size, so the weights are in memory once, however many graphs and children use them.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs-core";
import { syncDirectory } from "../files/atomic.ts";
import { writeFully } from "../files/chunks.ts";
import type { OnnxBackend } from "./backend.ts";
import type { EagerBackend } from "./eager.ts";
import { sizeOf, type Shape } from "./graph.ts";

const page = 4_096;
const temporaryMark = ".tmp-";

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
    await removeAbandoned(home);
    await write(path, end, tensors, await load());
  }
  return { path, tensors };
}

/** Two processes may do so at once: each writes a file of its own, and either may be the last to rename it. */
async function write(path: string, end: number, tensors: Layout["tensors"], weights: ReadonlyMap<string, { values: Float32Array }>): Promise<void> {
  const temporary = `${path}${temporaryMark}${randomBytes(6).toString("hex")}`;
  const file = await open(temporary, "wx");
  try {
    for (const [name, { offset, bytes }] of tensors) {
      const values = weights.get(name)?.values;
      if (values === undefined) throw new RangeError(`no values for ${name}`);
      if (values.byteLength !== bytes) throw new RangeError(`${name} has ${values.byteLength} bytes, its shape needs ${bytes}`);
      await writeFully(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset);
    }
    await file.truncate(end);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await syncDirectory(dirname(path));
}

/** What a killed writer left is as large as the model. A writer at work touches its file all the time, so an hour of silence means it is gone. */
async function removeAbandoned(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (!name.includes(temporaryMark)) continue;
    const path = join(home, name);
    const touched = (await stat(path).catch(() => null))?.mtimeMs ?? Date.now();
    if (Date.now() - touched > 3_600_000) await rm(path, { force: true });
  }
}

/** Tensors that stand for the file's regions (an eager backend's hold their values); usable in any number of compiled functions. */
export function mapWeights(backend: OnnxBackend | EagerBackend, layout: Layout): Record<string, Tensor> {
  return Object.fromEntries([...layout.tensors].map(([name, { shape, offset, bytes }]) => [name, backend.tensorOf({ kind: "file", path: layout.path, offset, bytes }, shape, "float32")]));
}
