/**
 * The tfjs backend "onnx". It is lazy: every kernel call adds a node to a graph, and nothing runs until somebody reads a tensor, or a function is
 * compiled (compile.ts). Responsible for: tfjs's data ids and their nodes, and when pending nodes are computed. Not responsible for: what kernels
 * mean (kernels/), running graphs (lazy.ts), kernels without a rule (fallback.ts).
 *
 * A read computes all that is pending and alive with it, in one session: so a training loop's new variables are computed with the loss that is read, and
 * the next step's graph begins at values. A program that reads seldom is cut at the end of its synchronous part (a step of model.fit), where the graph is the
 * same each time; one that never waits is cut at a bound.
 */
import { DataStorage, KernelBackend, engine, getKernelsForBackend, registerBackend, registerKernel, type BackendValues, type DataType, type NamedAttrMap, type NamedTensorInfoMap, type Tensor, type TensorInfo } from "@tensorflow/tfjs-core";
import { isTensor, runOnCpu, type HostTensor } from "./fallback.ts";
import { arrayOf, asFill, given, int64s, leaf, node, type Node, type Shape, type Source, type DType } from "./graph.ts";
import { NotRecorded, type Rule } from "./kernels/rule.ts";
import { kernelsOf } from "./kernels/table.ts";
import { LazyRunner } from "./lazy.ts";
import type { Device } from "./runtime.ts";

export const backendName = "onnx";

/** At the end of a synchronous part, so many recorded nodes are computed. */
const stepNodes = 64;
/**
 * Within one, so many are, as soon as a variable has been assigned: a loop that trains without ever waiting is then cut at the same few places again and
 * again, and its graphs are compiled once. Twice as many are in any case.
 */
const mostNodes = 1_024;

/** What a program has written since is held by the graph, needed or not; above so many bytes it is computed at once. */
const mostBytes = 1 << 28;

interface Entry {
  node: Node | null;
  /** Strings and complex numbers (pairs), which no graph holds: every kernel of theirs runs on tfjs's CPU backend. */
  readonly host: BackendValues | null;
  references: number;
}

export class OnnxBackend extends KernelBackend {
  readonly device: Device;
  readonly lazy: LazyRunner;
  /** Sees the outputs of every graph before it becomes bytes: tests put the verifier (verify.ts) here, at run time nothing looks. */
  inspect: (outputs: readonly Node[]) => void = () => undefined;
  /** How often each kernel without a rule was handed to tfjs's CPU backend. */
  readonly handedOver = new Map<string, number>();
  readonly #data: DataStorage<Entry>;
  /** Alive and not computed. */
  readonly #pending = new Set<Entry>();
  /** Nodes recorded since pending ones were computed last. */
  #recorded = 0;
  /** Bytes that were written since. */
  #written = 0;
  #assigned = false;
  #waiting = false;
  #tracing = 0;

  constructor(device: Device) {
    super();
    this.device = device;
    this.lazy = new LazyRunner(device);
    this.#data = new DataStorage(this, engine());
  }

  /** Makes a tensor out of a node: how kernels hand over results, and how inputs and mapped weights enter. */
  wrap(made: Node): TensorInfo {
    const dataId = {};
    const entry: Entry = { node: made, host: null, references: 1 };
    this.#data.set(dataId, entry);
    if (this.#tracing === 0 && made.source === undefined && made.fill === undefined) this.#defer(entry);
    return { dataId, shape: [...made.shape], dtype: shownAs(made.dtype) };
  }

  /** A tensor that tfjs tracks. @param source where its values come from */
  tensorOf(source: Source, shape: Shape, dtype: DType): Tensor {
    const info = this.wrap(leaf(source, shape, dtype));
    return engine().makeTensorFromTensorInfo(info);
  }

  /** @throws NotRecorded for strings and complex numbers */
  nodeOf(tensor: TensorInfo): Node {
    const { node: recorded } = this.#data.get(tensor.dataId);
    if (recorded === null) throw new NotRecorded(`${tensor.dtype} tensors are not recorded by the backend ${backendName}`);
    // One number, or one number repeated (tf.zeros; the gradients of outputs that nothing used), is symbolic in a compiled function: so x · 1 and x + 0
    // vanish. In a lazy graph it is data: the next step's may be another number.
    return this.#tracing > 0 ? asFill(recorded) : recorded;
  }

  /** While `build` runs, what is recorded belongs to a compiled function: nothing of it is computed before it is called. */
  trace<T>(build: () => T): T {
    this.#tracing++;
    try {
      return build();
    } finally {
      this.#tracing--;
    }
  }

  /** One kernel's call: by its rule, or by tfjs's CPU kernel. */
  call(kernelName: string, rule: Rule | undefined, inputs: NamedTensorInfoMap, attributes: NamedAttrMap | undefined): TensorInfo | TensorInfo[] {
    const { x } = inputs;
    if (kernelName === "Identity" && x !== undefined) {
      this.#data.get(x.dataId).references++;
      return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
    }
    if (rule !== undefined) {
      try {
        return this.#record(kernelName, rule, inputs, attributes);
      } catch (error) {
        if (!(error instanceof NotRecorded) || this.#tracing > 0) throw error;
      }
    }
    if (this.#tracing > 0) throw new NotRecorded(`the kernel ${kernelName} is not recorded by the backend ${backendName}, so it cannot be part of a compiled function`);
    this.handedOver.set(kernelName, (this.handedOver.get(kernelName) ?? 0) + 1);
    const results = runOnCpu(kernelName, inputs, attributes, (tensor) => this.readSync(tensor.dataId));
    return Array.isArray(results) ? results.map((made) => this.#enter(made)) : this.#enter(results);
  }

  override write(values: BackendValues, shape: number[], dtype: DataType): object {
    const dataId = {};
    this.move(dataId, values, shape, dtype, 1);
    return dataId;
  }

  override move(dataId: object, values: BackendValues, shape: number[], dtype: DataType, references: number): void {
    // tfjs may hand over plain arrays, and frees its typed ones: an own copy is what the graph may keep.
    const host = dtype === "string" || dtype === "complex64";
    if (!host && this.#tracing === 0) this.#written += 4 * values.length;
    this.#data.set(dataId, { node: host ? null : given(copyOf(values, dtype), shape, dtype), host: host ? values : null, references });
  }

  override read(dataId: object): Promise<BackendValues> {
    try {
      return Promise.resolve(this.readSync(dataId));
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
  }

  override readSync(dataId: object): BackendValues {
    const entry = this.#data.get(dataId);
    if (entry.node === null) return entry.host ?? [];
    if (entry.node.source === undefined && entry.node.fill === undefined) this.#compute(entry.node);
    entry.node = this.lazy.computed(entry.node) ?? entry.node;
    return this.lazy.valuesOf(entry.node) as Float32Array;
  }

  override disposeData(dataId: object, force = false): boolean {
    if (!this.#data.has(dataId)) return true;
    const entry = this.#data.get(dataId);
    entry.references--;
    if (!force && entry.references > 0) return false;
    this.#pending.delete(entry);
    this.#data.delete(dataId);
    return true;
  }

  override refCount(dataId: object): number {
    return this.#data.has(dataId) ? this.#data.get(dataId).references : 0;
  }

  /** tfjs calls it where a variable takes over a tensor's values. */
  override incRef(dataId: object): void {
    this.#assigned = true;
    this.#data.get(dataId).references++;
  }

  override numDataIds(): number {
    return this.#data.numDataIds();
  }

  override epsilon(): number {
    return 1e-7;
  }

  override floatPrecision(): 32 {
    return 32;
  }

  override timerAvailable(): boolean {
    return false;
  }

  /** Recording takes no time: what is measured is the computing of what `work` left. */
  override time(work: () => void): Promise<{ kernelMs: number }> {
    const started = performance.now();
    work();
    this.#computePending();
    return Promise.resolve({ kernelMs: performance.now() - started });
  }

  override memory(): { unreliable: boolean; reasons: string[] } {
    return { unreliable: true, reasons: ["Results are counted when they are recorded, and take memory when they are computed."] };
  }

  /** tfjs calls it when it forgets its backends; it may ask for this one again later. */
  override dispose(): void {
    this.#pending.clear();
    this.#recorded = 0;
    this.lazy.close();
  }

  #record(kernelName: string, rule: Rule, inputs: NamedTensorInfoMap, attributes: NamedAttrMap | undefined): TensorInfo | TensorInfo[] {
    const nodes = Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, isTensor(info) ? this.nodeOf(info) : undefined]));
    const made = rule(nodes, { ...attributes }, this.#tracing === 0);
    if (Array.isArray(made)) return (made as Node[]).map((one) => this.wrap(one));
    return this.wrap(kernelName === "Fill" && this.#tracing === 0 ? filled(made as Node) : (made as Node));
  }

  /** A CPU kernel's result. */
  #enter({ values, shape, dtype }: HostTensor): TensorInfo {
    return { dataId: this.write(values, shape, dtype), shape, dtype };
  }

  #defer(entry: Entry): void {
    this.#pending.add(entry);
    this.#recorded++;
    if (this.#written > mostBytes || this.#recorded >= 2 * mostNodes || (this.#recorded >= mostNodes && this.#assigned)) this.#computePending();
    this.#assigned = false;
    if (this.#waiting) return;
    this.#waiting = true;
    queueMicrotask(() => {
      this.#waiting = false;
      if (this.#recorded >= stepNodes) this.#computePending();
    });
  }

  /** Computes what is alive. A failure is kept for the read of the tensor that it belongs to. */
  #computePending(): void {
    try {
      this.#run([]);
    } catch {
      this.#recorded = 0;
      this.#written = 0;
    }
  }

  #compute(wanted: Node): void {
    if (this.lazy.computed(wanted) !== undefined) return;
    try {
      this.#run([wanted]);
    } catch (error) {
      if (this.#pending.size === 0) throw error;
      // Something else that is alive may be at fault.
      this.inspect([wanted]);
      this.lazy.run([wanted]);
    }
  }

  #run(wanted: readonly Node[]): void {
    const nodes = new Set(wanted);
    for (const { node: one } of this.#pending) if (one !== null && this.lazy.computed(one) === undefined) nodes.add(one);
    if (nodes.size > 0) {
      this.inspect([...nodes]);
      this.lazy.run([...nodes]);
    }
    for (const entry of this.#pending) entry.node = entry.node === null ? null : (this.lazy.computed(entry.node) ?? entry.node);
    this.#pending.clear();
    this.#recorded = 0;
    this.#written = 0;
  }
}

/** tf.fill's number may change with each step, as a written one may. */
function filled(made: Node): Node {
  if (made.fill === undefined) return made;
  const single = given(Object.assign(new arrayOf[made.dtype](1), [made.fill]), [], made.dtype);
  return made.shape.length === 0 ? single : node("Expand", [single, int64s(made.shape)], made.shape, made.dtype);
}

/** @returns values in an array of their type that nobody else has */
function copyOf(values: BackendValues | ArrayLike<number>, dtype: DataType): Float32Array | Int32Array | Uint8Array {
  if (dtype === "int32") return values instanceof Int32Array ? values.slice() : Int32Array.from(values as ArrayLike<number>);
  if (dtype === "bool") return values instanceof Uint8Array ? values.slice() : Uint8Array.from(values as ArrayLike<number>);
  return values instanceof Float32Array ? values.slice() : Float32Array.from(values as ArrayLike<number>);
}

/** Registers backend and kernels with tfjs, once per process, and returns the backend. `tf.setBackend("onnx")` then selects it. */
export function registerOnnxBackend(device: Device): OnnxBackend {
  const existing = engine().findBackend(backendName);
  if (existing instanceof OnnxBackend) return existing;
  const backend = new OnnxBackend(device);
  registerBackend(backendName, () => backend, 2);
  const rules = kernelsOf(device);
  const names = new Set([...Object.keys(rules), ...getKernelsForBackend("cpu").map(({ kernelName }) => kernelName)]);
  for (const kernelName of names) {
    registerKernel({ kernelName, backendName, kernelFunc: ({ inputs, attrs }) => backend.call(kernelName, rules[kernelName], inputs, attrs) });
  }
  return backend;
}

/** tfjs knows no bytes with or without a sign; where quantised weights pass through it, they go as its other type of one byte. */
const shownAs = (dtype: DType): DataType => (dtype === "int8" || dtype === "uint8" ? "bool" : (dtype as DataType));
