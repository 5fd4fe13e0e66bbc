/**
 * Compiled functions on disk: what ONNX Runtime made of a graph, and the shapes around it, so that the next process neither traces nor optimises.
 * An entry's name is the hash of everything that it depends on: the caller's key, our sources, and what runs it. Entries lie beside the weights that they
 * map, and go with them.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { readFile, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { arch, cpus } from "node:os";
import { join } from "node:path";
import { version_core } from "@tensorflow/tfjs-core";
import { z } from "zod";
import { projectRoot } from "../config/settings.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import type { Emitted } from "./emit.ts";
import type { DType, Node, Shape, TypedArray } from "./graph.ts";
import { arrayOf, sizeOf } from "./graph.ts";
import { runtimeVersion, type Device } from "./runtime.ts";

/** Where a compiled function may be kept, and under which name: the same key must always mean the same function. */
export interface CacheKey {
  /** The folder of the mapped weights. */
  readonly folder: string;
  readonly key: string;
}

/** All that a run needs to know of a graph besides the graph. */
export interface Frame {
  /** Shapes of the arguments; a free side is -1. */
  readonly inputs: readonly Shape[];
  readonly outputs: readonly { readonly shape: Shape; readonly dtype: DType }[];
  readonly outputNames: readonly string[];
  readonly nodeCount: number;
  /** Constants that are too large for the graph file, by input name. */
  readonly captured: Readonly<Record<string, { readonly values: TypedArray; readonly shape: Shape; readonly dtype: DType }>>;
}

const dtype = z.enum(["float32", "int32", "bool", "int64", "float16", "int8", "uint8"]);
const shape = z.array(z.int());
const frameSchema = z.object({
  bytes: z.int(),
  inputs: z.array(shape),
  outputs: z.array(z.object({ shape, dtype })),
  outputNames: z.array(z.string()),
  nodeCount: z.int(),
  captured: z.record(z.string(), z.object({ base64: z.string(), shape, dtype })),
});

/** @throws Error when a leaf that is no argument has no values */
export function frameOf({ inputs, outputNames, nodeCount }: Emitted, parameters: readonly Node[], outputs: readonly Node[]): Frame {
  const captured = Object.fromEntries(
    inputs.slice(parameters.length).map(({ name, leaf }) => {
      if (leaf.source?.kind !== "data") throw new Error(`${name} is no argument of the compiled function, and has no values`);
      return [name, { values: leaf.source.values, shape: leaf.shape, dtype: leaf.dtype }];
    }),
  );
  return { inputs: parameters.map((parameter) => parameter.shape), outputs: outputs.map((output) => ({ shape: output.shape, dtype: output.dtype })), outputNames, nodeCount, captured };
}

export interface Entry {
  readonly model: string;
  readonly frame: Frame;
}

const unusedMilliseconds = 30 * 86_400_000;

export class CompileCache {
  readonly #folder: string;
  readonly #name: string;
  /** Two may make the same function at once, in one process, too. */
  readonly #mark = randomBytes(4).toString("hex");

  constructor({ folder, key }: CacheKey, device: Device, how: string) {
    this.#folder = folder;
    this.#name = `compiled-${createHash("sha256").update(JSON.stringify([key, how, sourceIdentity(), version_core, runtimeVersion, device.provider, arch(), cpus()[0]?.model])).digest("hex").slice(0, 20)}`;
  }

  get #model(): string {
    return join(this.#folder, `${this.#name}.onnx`);
  }

  get #frame(): string {
    return join(this.#folder, `${this.#name}.json`);
  }

  /** Where ONNX Runtime is to write what it makes; `keep` gives it its name. A process that is killed leaves it to the next one's `tidy`. */
  temporary(): string {
    return join(this.#folder, `${this.#name}.${process.pid}-${this.#mark}.tmp`);
  }

  /** null when there is none that is whole. */
  async find(): Promise<Entry | null> {
    const text = await readFile(this.#frame, "utf8").catch(() => null);
    if (text === null) return null;
    const parsed = frameSchema.safeParse(parseJson(text));
    if (!parsed.success || (await stat(this.#model).catch(() => null))?.size !== parsed.data.bytes) return null;
    const now = new Date();
    await utimes(this.#frame, now, now).catch(() => undefined);
    const captured = Object.fromEntries(Object.entries(parsed.data.captured).map(([name, value]) => [name, { values: fromBase64(value.base64, value.dtype, sizeOf(value.shape)), shape: value.shape, dtype: value.dtype }]));
    return { model: this.#model, frame: { ...parsed.data, captured } };
  }

  /** The frame comes last: an entry without one does not exist. */
  async keep(frame: Frame): Promise<void> {
    await makeFolder(this.#folder);
    await rename(this.temporary(), this.#model);
    const { size } = await stat(this.#model);
    const captured = Object.fromEntries(Object.entries(frame.captured).map(([name, { values, ...rest }]) => [name, { ...rest, base64: Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64") }]));
    await writeFileAtomic(this.#frame, JSON.stringify({ ...frame, captured, bytes: size }));
    await this.#tidy();
  }

  async forget(): Promise<void> {
    await rm(this.#frame, { force: true });
    await rm(this.#model, { force: true });
  }

  /** What nobody used for a month belongs to sources or settings that are gone. */
  async #tidy(): Promise<void> {
    const names = await readdir(this.#folder);
    for (const name of names.filter((each) => each.startsWith("compiled-"))) {
      const base = name.replace(/\.(json|onnx|\d+-[0-9a-f]+\.tmp)$/, "");
      const used = (await stat(join(this.#folder, `${base}.json`)).catch(() => stat(join(this.#folder, name)).catch(() => null)))?.mtimeMs ?? Date.now();
      if (Date.now() - used > unusedMilliseconds) await rm(join(this.#folder, name), { force: true });
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function fromBase64(base64: string, type: DType, length: number): TypedArray {
  const bytes = Uint8Array.from(Buffer.from(base64, "base64"));
  const values = new arrayOf[type](length);
  new Uint8Array(values.buffer).set(bytes.subarray(0, values.byteLength));
  return values;
}

let identity: string | undefined;

/** Of the sources that say what a graph is: a changed line may mean another graph under the same key. */
function sourceIdentity(): string {
  if (identity !== undefined) return identity;
  const hash = createHash("sha256");
  for (const folder of ["shared/models", "shared/tensor", "shared/engine"]) {
    const names = readdirSync(join(projectRoot, folder), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts")).sort();
    for (const name of names) hash.update(name).update(readFileSync(join(projectRoot, folder, name)));
  }
  identity = hash.digest("hex");
  return identity;
}
