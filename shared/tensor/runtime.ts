/**
 * The only file that imports onnxruntime-node: sessions in, typed arrays out.
 * `run` blocks the JavaScript thread for as long as the model runs (measured: the binding is synchronous inside), so nothing that serves HTTP or
 * holds a job lock may come here: only child processes do.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { InferenceSession, Tensor, env } from "onnxruntime-node";
import { binding, initOrt } from "onnxruntime-node/dist/binding.js";
import type { ComputeDevice } from "../config/devices.ts";
import { angleNodes, stopOutput } from "./emit.ts";
import { sameShape, type DType, type Shape, type TypedArray } from "./graph.ts";

export interface Device {
  /** An execution provider of ONNX Runtime, or the tfjs backend that runs functions eagerly instead. */
  readonly provider: Exclude<ComputeDevice, "auto">;
  /** Threads inside one operator. */
  readonly threads: number;
  /**
   * Threads wait for the next operator by spinning, within a run only. Decoding's operators take microseconds, so that waking a thread for each costs a
   * quarter of the step (29 ms a token before, 22 after), and a training step of 7,500 operators 4 %. Only for who yields to the other processes
   * otherwise: a run's child has a lower priority.
   */
  readonly spin?: boolean;
}

export interface Value {
  readonly values: TypedArray;
  readonly shape: Shape;
  readonly dtype: DType;
}

export interface Session {
  /** Feeds by input name; the arrays are read in place, not copied. Resolves with the outputs in the order of `fetches`. */
  run(feeds: Readonly<Record<string, Value>>, fetches: readonly string[]): Promise<TypedArray[]>;
  close(): Promise<void>;
}

export const runtimeVersion = env.versions.common;

/** Where the library of a provider lies that is not part of ONNX Runtime's own. */
export function providerLibrary(provider: string): string {
  const file = process.platform === "win32" ? `onnxruntime_providers_${provider}.dll` : `libonnxruntime_providers_${provider}.so`;
  return join(dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json")), "bin", "napi-v6", process.platform, process.arch, file);
}

export interface SessionOptions {
  /** Copy constant operands into the layout that products like best; see CompileOptions. */
  readonly prepack: boolean;
  /** false: the model is what an earlier session wrote. Default true. */
  readonly optimise?: boolean;
  /** Where to write what the optimiser made of the model: in the folder of its external data. */
  readonly writeTo?: string;
}

/**
 * WGSL promises cosines and sines only within π of zero, and there to 2⁻¹¹ (W3C WGSL, 15.7.4 Floating point accuracy). Angles of rotary embeddings go up to
 * the length of the context, and everything turns by them: they are few, and worked out on the processor.
 */
const providerOf = ({ provider }: Device): InferenceSession.ExecutionProviderConfig => (provider === "webgpu" ? { name: "webgpu", forceCpuNodeNames: angleNodes } : provider);

function optionsFor(device: Device, { prepack, optimise = true, writeTo }: SessionOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: [providerOf(device)],
    graphOptimizationLevel: optimise ? "all" : "disabled",
    ...(writeTo === undefined ? {} : { optimizedModelFilePath: writeTo }),
    intraOpNumThreads: device.threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    logSeverityLevel: 3,
    // Gateway, trainer and engine share the cores: threads that spin while they wait cost the others much, so that it's for `spin` to allow.
    // Softmax writes denormal numbers where a mask forbids; a processor takes a hundred times as long for each (attention's softmax: 228 ms before, 30 ms after).
    extra: {
      // A product with an addition as one Gemm copies the summand first, on one thread: slower than to add it (2.98 → 2.93 s a training step).
      optimization: { disable_specified_optimizers: "MatMulAddFusion" },
      session: { set_denormal_as_zero: "1", disable_prepacking: prepack ? "0" : "1", force_spinning_stop: "1", intra_op: { allow_spinning: device.spin === true ? "1" : "0" } },
    },
    // The planner would allocate the whole step once more in its second run, beside what the first one got.
    enableMemPattern: false,
  };
}

/** @param model bytes, or the path of a file whose external data lies beside it (then weights are mapped, not read) */
export async function openSession(model: Uint8Array | string, device: Device, sessionOptions: SessionOptions): Promise<Session> {
  const options = optionsFor(device, sessionOptions);
  const session = typeof model === "string" ? await InferenceSession.create(model, options) : await InferenceSession.create(model, options);
  return {
    async run(feeds, fetches) {
      const tensors: Record<string, Tensor> = {};
      for (const [name, value] of Object.entries(feeds)) tensors[name] = toTensor(value);
      const results = await session.run(tensors, [...fetches]);
      return fetches.map((name) => {
        const result = results[name];
        if (result === undefined) throw new Error(`the session returned no ${name}`);
        return result.data as TypedArray;
      });
    },
    close: () => session.release(),
  };
}

/** What a run takes and where it writes, by name: kept from one run to the next, because most of the hundred arrays of a token are those of the last one. */
export interface Bindings {
  setInput(name: string, value: Value): void;
  /** Which output is written to this array; one that is set nowhere is not handed over. */
  setOutput(name: string, value: Value): void;
}

/** A session whose outputs are arrays of the caller's, inputs among them: what an operator can write in place, as attention its cache, is never copied. */
export interface InPlaceSession {
  bind(): Bindings;
  run(bindings: Bindings): void;
  close(): void;
}

class TensorBindings implements Bindings {
  readonly feeds: Record<string, Tensor> = {};
  readonly outputs: Record<string, Tensor | null> = { [stopOutput]: null };

  setInput(name: string, value: Value): void {
    this.feeds[name] = plainTensor(value);
  }

  setOutput(name: string, value: Value): void {
    this.outputs[name] = plainTensor(value);
  }
}

/** What the binding reads of a tensor: of a real one it has to ask two getters, which takes 20 to 40 µs for the hundred and twenty of a token. */
const plainTensor = ({ values, shape, dtype }: Value) => ({ type: dtype, dims: shape, location: "cpu", data: values }) as unknown as Tensor;

/**
 * For graphs that emit.ts made with `inPlace`. The binding writes outputs where it is told to, and then copies each into a new array all the same, as
 * a result that nobody wants (onnxruntime-node 1.30, js/node/src/tensor_helper.cc): for a cache of 512 positions 24 MB a token. So the first output of
 * these graphs is of a type that the binding has no array for; everything is computed and written by the time that it says so. Where it did not, all would
 * be right, and slower.
 */
export function openInPlaceSession(model: Uint8Array | string, device: Device, sessionOptions: SessionOptions): InPlaceSession {
  initOrt();
  const options = optionsFor(device, sessionOptions);
  const session = new binding.InferenceSession();
  if (typeof model === "string") session.loadModel(model, options);
  else session.loadModel(model.buffer as ArrayBuffer, model.byteOffset, model.byteLength, options);
  return {
    bind: () => new TensorBindings(),
    run(bindings) {
      if (!(bindings instanceof TensorBindings)) throw new TypeError("the bindings are not a session's");
      try {
        session.run(bindings.feeds, bindings.outputs, {});
      } catch (error) {
        if (!(error instanceof Error && isStop.test(error.message))) throw error;
      }
    },
    close: () => session.dispose(),
  };
}

const isStop = /^Tensor type \(16\) is not supported/;

/** A session whose runs end before they return: tfjs's dataSync can wait for nothing. */
export interface SyncSession {
  run(feeds: Readonly<Record<string, Value>>, fetches: readonly string[]): TypedArray[];
  close(): void;
}

/**
 * For graphs of lazy reads: many, small, run a few times each. Without the arena, which would keep every session's peak for as long as it is cached.
 * Through the binding below onnxruntime-node's promises, which wait for a turn of the event loop and then do the same.
 */
export function openSyncSession(model: Uint8Array, device: Device): SyncSession {
  initOrt();
  const session = new binding.InferenceSession();
  session.loadModel(model.buffer as ArrayBuffer, model.byteOffset, model.byteLength, {
    executionProviders: [device.provider],
    graphOptimizationLevel: "all",
    intraOpNumThreads: device.threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    enableCpuMemArena: false,
    enableMemPattern: false,
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  return {
    run(feeds, fetches) {
      const tensors = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, toTensor(value)]));
      const results = session.run(tensors, Object.fromEntries(fetches.map((name) => [name, null])), {});
      return fetches.map((name) => {
        const result = results[name];
        if (!(result instanceof Tensor)) throw new Error(`the session returned no ${name}`);
        return result.data as TypedArray;
      });
    },
    close: () => session.dispose(),
  };
}

/** By array: making one checks every side, 3 µs, and a token of an answer with an adapter takes 480 arrays that are the same each time. */
const tensors = new WeakMap<TypedArray, Tensor>();

function toTensor({ values, shape, dtype }: Value): Tensor {
  const known = tensors.get(values);
  if (known?.type === dtype && sameShape(known.dims, shape)) return known;
  const made = new Tensor(dtype, values as Float32Array, shape);
  tensors.set(values, made);
  return made;
}
