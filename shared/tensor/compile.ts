/**
 * A function of tensors, traced once and compiled once, then run many times on plain arrays. The function must be pure: it may use its
 * arguments, constants, and tensors that map a file, and returns tensors.
 */
import { createHash } from "node:crypto";
import { access } from "node:fs/promises";
import { dirname, join } from "node:path";
import { engine, setBackend, tidy, type Tensor } from "@tensorflow/tfjs-core";
import { writeFileAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import { backendName, type OnnxBackend } from "./backend.ts";
import { EagerBackend, eagerFunction } from "./eager.ts";
import { CompileCache, frameOf, type CacheKey, type Frame } from "./compile_cache.ts";
import { emit } from "./emit.ts";
import type { Node, TypedArray } from "./graph.ts";
import { mergeTraces, type Traced } from "./free_sizes.ts";
import { openInPlaceSession, openSession, type InPlaceSession, type Session, type SessionOptions, type Value } from "./runtime.ts";
import { inPlaceRun } from "./in_place.ts";
import { checkInput, chosen, flattened, type Compiled, type InputSpec, type Sized } from "./signature.ts";

export type { Compiled, InputSpec, Sized } from "./signature.ts";

export interface CompileOptions {
  /**
   * Weights are copied into the layout that products like best: batches of a few rows run up to twice as fast, and the session holds all that it
   * multiplies by a second time, takes seconds longer to open, and shares none of it. Default false.
   */
  readonly prepack?: boolean;
  /** Keep the compiled function on disk. Not for functions whose `build` depends on anything that the key doesn't tell. */
  readonly cache?: CacheKey;
  /**
   * By the index of an output, that of the input whose array it is written over: for operators that can (kernels/fused.ts, CachedAttention). Of the other
   * outputs only the first side may be free, and is then that of the first input. Not for eager backends.
   */
  readonly inPlace?: ReadonlyMap<number, number>;
}

/**
 * @param build receives one tensor per spec and returns the outputs; it is called once, or once for each list of specs, and not at all when the cache has it; by an
 * eager backend, in each run
 * @param others the same inputs in other sizes: sides that differ are free, and any size can be run (free_sizes.ts says what that asks of `build`)
 */
export async function compile(backend: OnnxBackend | EagerBackend, specs: readonly InputSpec[], build: (...inputs: Tensor[]) => readonly Tensor[], others?: readonly InputSpec[], options: CompileOptions = {}): Promise<Compiled> {
  if (backend instanceof EagerBackend) return eagerFunction(backend, specs, build, others);
  const started = performance.now();
  const { prepack = false, inPlace } = options;
  const open = async (model: Uint8Array | string, how: Omit<SessionOptions, "prepack">): Promise<Opened> => {
    const { device } = backend;
    if (inPlace === undefined) return { session: await openSession(model, device, { prepack, ...how }) };
    return { inPlace, session: openInPlaceSession(model, device, { prepack, ...how }) };
  };
  const cache = options.cache === undefined ? null : new CompileCache({ ...options.cache, key: JSON.stringify([options.cache.key, specs, others]) }, backend.device, JSON.stringify({ prepack, inPlace: [...(inPlace ?? [])] }));
  const kept = (await cache?.find()) ?? null;
  if (kept !== null) {
    const opened = await open(kept.model, { optimise: false }).catch(() => null);
    if (opened !== null) return compiledFunction(specs, kept.frame, opened, { trace: 0, open: performance.now() - started });
    await cache?.forget(); // damaged, though as long as it was
  }
  const { inputs, outputs } = others === undefined ? inspected(backend, specs, build) : mergeTraces(inspected(backend, specs, build), inspected(backend, others, build));
  const emitted = emit(outputs, inputs, inPlace === undefined ? {} : { inPlace: new Set(inPlace.keys()) });
  const frame = frameOf(emitted, inputs, outputs);
  const traced = performance.now();
  const opened = await open(await placeModel(emitted.model, emitted.files), cache === null ? {} : { writeTo: cache.temporary() });
  await cache?.keep(frame);
  const again = (await cache?.find()) ?? null;
  if (again === null) return compiledFunction(specs, frame, opened, { trace: traced - started, open: performance.now() - traced });
  // What the next process will run, this one runs, too: the written model's operators come in an order that needs a third less memory (4.1 GB before, 2.9 GB
  // after, for a step of 30 layers), and an interrupted run goes on with the very same graph.
  await opened.session.close();
  const reopened = await open(again.model, { optimise: false });
  return compiledFunction(specs, again.frame, reopened, { trace: traced - started, open: performance.now() - traced });
}

type Opened = { readonly session: Session; readonly inPlace?: undefined } | { readonly session: InPlaceSession; readonly inPlace: ReadonlyMap<number, number> };

function compiledFunction(specs: readonly InputSpec[], frame: Frame, opened: Opened, milliseconds: Compiled["milliseconds"]): Compiled {
  const { inputs, outputs, outputNames, nodeCount, captured } = frame;
  const valueOf = (array: TypedArray | Sized | undefined, at: number): Value => {
    const { dtype } = specs[at] ?? { dtype: "float32" };
    return { ...checkInput(array, inputs[at] ?? [], dtype, at), dtype };
  };
  const requireCount = (count: number) => {
    if (count !== specs.length) throw new RangeError(`expected ${specs.length} inputs, got ${count}`);
  };
  const run: Compiled["run"] =
    opened.inPlace !== undefined
      ? inPlaceRun(opened.session, opened.inPlace, frame, valueOf, requireCount)
      : async (given, wanted) => {
          const arrays = flattened(given);
          requireCount(arrays.length);
          const feeds: Record<string, Value> = { ...captured };
          arrays.forEach((array, at) => {
            feeds[`input_${at}`] = valueOf(array, at);
          });
          return opened.session.run(feeds, wanted === undefined ? outputNames : chosen(outputNames, wanted));
        };
  return {
    outputs: outputs.map(({ shape, dtype }) => ({ shape, dtype: dtype as InputSpec["dtype"] })),
    nodeCount,
    milliseconds,
    run,
    close: async () => opened.session.close(),
  };
}

/**
 * A function as an ONNX model for other programs. Weights that it maps have to lie in one folder, which is the model's.
 * @param others as in `compile`
 * @throws Error when a constant is too large for the file
 */
export function traceToOnnx(backend: OnnxBackend, specs: readonly InputSpec[], build: (...inputs: Tensor[]) => readonly Tensor[], others: readonly InputSpec[], names: { readonly inputs: readonly string[]; readonly outputs: readonly string[] }): Uint8Array {
  const { inputs, outputs } = mergeTraces(inspected(backend, specs, build), inspected(backend, others, build));
  const emitted = emit(outputs, inputs, { names });
  if (emitted.inputs.length > specs.length) throw new Error("a constant of the function is too large for the model file");
  return emitted.model;
}

function inspected(backend: OnnxBackend, specs: readonly InputSpec[], build: (...inputs: Tensor[]) => readonly Tensor[]): Traced {
  const traced = trace(backend, specs, build);
  backend.inspect(traced.outputs);
  return traced;
}

function trace(backend: OnnxBackend, specs: readonly InputSpec[], build: (...inputs: Tensor[]) => readonly Tensor[]): Traced {
  const previous = engine().backendName;
  setBackendSync(backendName);
  try {
    const inputs: Node[] = [];
    const outputs: Node[] = [];
    backend.trace(() => tidy(() => {
      const tensors = specs.map(({ shape, dtype }, at) => {
        const tensor = backend.tensorOf({ kind: "input", name: `input_${at}` }, shape, dtype);
        inputs.push(backend.nodeOf(tensor));
        return tensor;
      });
      outputs.push(...build(...tensors).map((tensor) => backend.nodeOf(tensor)));
    }));
    return { inputs, outputs };
  } finally {
    if (previous !== undefined && previous !== backendName) setBackendSync(previous);
  }
}

/** tfjs's setBackend is async only for backends that initialise asynchronously; ours has done so when this is called. */
function setBackendSync(name: string): void {
  setBackend(name).catch((error: unknown) => {
    throw error;
  });
}

/**
 * ONNX Runtime resolves external data beside the model file. So a model with external data is written beside it, under the hash of its
 * bytes: the next process with the same graph finds it there.
 */
async function placeModel(model: Uint8Array, files: readonly string[]): Promise<Uint8Array | string> {
  const [first] = files;
  if (first === undefined) return model;
  const folder = dirname(first);
  if (files.some((file) => dirname(file) !== folder)) throw new Error("external data must lie in one folder");
  const path = join(folder, `${createHash("sha256").update(model).digest("hex").slice(0, 16)}.onnx`);
  await makeFolder(folder);
  await access(path).catch(() => writeFileAtomic(path, model));
  return path;
}
