/**
 * A function of tensors, traced once and compiled once, then run many times on plain arrays. The function must be pure: it may use its
 * arguments, constants, and tensors that map a file, and returns tensors.
 */
import { createHash } from "node:crypto";
import { access, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { engine, setBackend, tidy, type Tensor } from "@tensorflow/tfjs-core";
import { writeFileAtomic } from "../files/atomic.ts";
import { backendName, type OnnxBackend } from "./backend.ts";
import { emit } from "./emit.ts";
import { arrayOf, sizeOf, type Node, type Shape, type TypedArray } from "./graph.ts";
import { mergeTraces, type Traced } from "./free_sizes.ts";
import { openSession } from "./runtime.ts";

export interface InputSpec {
  readonly shape: Shape;
  readonly dtype: "float32" | "int32" | "bool";
}

/** An array with the shape that it has in this run. */
export interface Sized {
  readonly values: TypedArray;
  readonly shape: Shape;
}

export interface Compiled {
  /** A free side is -1. */
  readonly outputs: readonly InputSpec[];
  readonly nodeCount: number;
  /** Milliseconds spent tracing and emitting, and opening the session. */
  readonly milliseconds: { readonly trace: number; readonly open: number };
  /**
   * @param inputs one array per spec, read in place, with its shape where the spec's has free sides; lengths and types are checked, because a short
   * array would be read past its end
   * @returns one array per output
   */
  run(inputs: readonly (TypedArray | Sized)[]): Promise<TypedArray[]>;
  close(): Promise<void>;
}

/**
 * @param build receives one tensor per spec and returns the outputs; it is called once, or once for each list of specs
 * @param others the same inputs in other sizes: sides that differ are free, and any size can be run (free_sizes.ts says what that asks of `build`)
 */
export async function compile(backend: OnnxBackend, specs: readonly InputSpec[], build: (...inputs: Tensor[]) => readonly Tensor[], others?: readonly InputSpec[]): Promise<Compiled> {
  const started = performance.now();
  const { inputs, outputs } = others === undefined ? inspected(backend, specs, build) : mergeTraces(inspected(backend, specs, build), inspected(backend, others, build));
  const emitted = emit(outputs, inputs);
  const traced = performance.now();
  const session = await openSession(await placeModel(emitted.model, emitted.files), backend.device);
  const opened = performance.now();
  const captured = Object.fromEntries(
    emitted.inputs.slice(inputs.length).map(({ name, leaf }) => {
      if (leaf.source?.kind !== "data") throw new Error(`${name} is no argument of the compiled function, and has no values`);
      return [name, { values: leaf.source.values, shape: leaf.shape, dtype: leaf.dtype }];
    }),
  );
  return {
    outputs: outputs.map(({ shape, dtype }) => ({ shape, dtype: dtype as InputSpec["dtype"] })),
    nodeCount: emitted.nodeCount,
    milliseconds: { trace: traced - started, open: opened - traced },
    async run(arrays) {
      if (arrays.length !== specs.length) throw new RangeError(`expected ${specs.length} inputs, got ${arrays.length}`);
      const feeds = { ...captured };
      specs.forEach(({ dtype }, at) => {
        const array = arrays[at];
        const { values, shape } = array !== undefined && "values" in array && "shape" in array ? checked(array, inputs[at]?.shape ?? [], at) : { values: array, shape: inputs[at]?.shape ?? [] };
        if (values === undefined || values.length !== sizeOf(shape)) throw new RangeError(`input ${at} has ${values?.length} elements, its shape [${shape.join(",")}] needs ${sizeOf(shape)}`);
        if (!(values instanceof arrayOf[dtype])) throw new TypeError(`input ${at} is ${(values).constructor.name}, its type ${dtype} needs ${arrayOf[dtype].name}`);
        feeds[`input_${at}`] = { values, shape, dtype };
      });
      return session.run(feeds, emitted.outputNames);
    },
    close: () => session.close(),
  };
}

function inspected(backend: OnnxBackend, specs: readonly InputSpec[], build: (...inputs: Tensor[]) => readonly Tensor[]): Traced {
  const traced = trace(backend, specs, build);
  backend.inspect(traced.outputs);
  return traced;
}

function checked(given: Sized, shape: Shape, at: number): Sized {
  if (given.shape.length !== shape.length || shape.some((side, axis) => side !== -1 && side !== given.shape[axis])) throw new RangeError(`input ${at} has the shape [${given.shape.join(",")}], the function takes [${shape.join(",")}] (-1: any)`);
  return given;
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
  await mkdir(folder, { recursive: true });
  await access(path).catch(() => writeFileAtomic(path, model));
  return path;
}
