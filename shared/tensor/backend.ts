/**
 * The tfjs backend "onnx": every kernel call adds a node to a graph; nothing runs until somebody reads a tensor (lazy) or compiles a
 * function (compile.ts). Responsible for: tfjs's data ids and their nodes. Not responsible for: what kernels mean (kernels/).
 */
import { createHash } from "node:crypto";
import { DataStorage, KernelBackend, engine, registerBackend, registerKernel, type BackendValues, type DataType, type Tensor, type TensorInfo } from "@tensorflow/tfjs-core";
import { emit } from "./emit.ts";
import { fill, leaf, sizeOf, type Node, type Shape, type Source, type TypedArray } from "./graph.ts";
import { kernels } from "./kernels/table.ts";
import { openSession, type Device, type Session } from "./runtime.ts";

export const backendName = "onnx";

interface Entry {
  node: Node;
  references: number;
}

export class OnnxBackend extends KernelBackend {
  readonly device: Device;
  /** Sees the outputs of every graph before it becomes bytes: tests put the verifier (verify.ts) here, at run time nothing looks. */
  inspect: (outputs: readonly Node[]) => void = () => undefined;
  readonly #data: DataStorage<Entry>;
  /** Compiled graphs of lazy reads, by the hash of their bytes; bounded, because shapes may vary without end. */
  readonly #sessions = new Map<string, Promise<Session>>();

  constructor(device: Device) {
    super();
    this.device = device;
    this.#data = new DataStorage(this, engine());
  }

  /** Makes a tensor out of a node: how kernels hand over results, and how inputs and mapped weights enter. */
  wrap(node: Node): TensorInfo {
    const dataId = {};
    this.#data.set(dataId, { node, references: 1 });
    return { dataId, shape: [...node.shape], dtype: node.dtype as DataType };
  }

  /** A tensor that tfjs tracks. @param source where its values come from */
  tensorOf(source: Source, shape: Shape, dtype: "float32" | "int32" | "bool"): Tensor {
    const info = this.wrap(leaf(source, shape, dtype));
    return engine().makeTensorFromTensorInfo(info);
  }

  nodeOf(tensor: TensorInfo): Node {
    const entry = this.#data.get(tensor.dataId);
    return entry.node;
  }

  override write(values: BackendValues, shape: number[], dtype: DataType): object {
    const dataId = {};
    this.move(dataId, values, shape, dtype, 1);
    return dataId;
  }

  override move(dataId: object, values: BackendValues, shape: number[], dtype: DataType, references: number): void {
    if (dtype === "string" || dtype === "complex64") throw new TypeError(`the backend ${backendName} has no ${dtype} tensors`);
    // tfjs may hand over plain arrays, and frees its typed ones: an own copy is what the graph may keep.
    const own = dtype === "int32" ? Int32Array.from(values as Int32Array) : dtype === "bool" ? Uint8Array.from(values as Uint8Array) : Float32Array.from(values as Float32Array);
    const [first] = own;
    // One number, or one number repeated (tf.zeros; the gradients of outputs that nothing used), stays symbolic: so x · 1 and x + 0 can vanish.
    const node = first !== undefined && Number.isFinite(first) && own.every((value) => Object.is(value, first)) ? fill(shape, dtype, first) : leaf({ kind: "data", values: own }, shape, dtype);
    this.#data.set(dataId, { node, references });
  }

  override async read(dataId: object): Promise<Float32Array | Int32Array | Uint8Array> {
    const entry = this.#data.get(dataId);
    const { node } = entry;
    if (node.source?.kind === "data") return node.source.values as Float32Array;
    this.inspect([node]);
    const emitted = emit([node]);
    // ONNX Runtime would look for the file in the current folder.
    if (emitted.files.length > 0) throw new Error(`a lazy read reached weights that are mapped from ${emitted.files.join(", ")}: compile a function of them`);
    const key = createHash("sha256").update(emitted.model).digest("base64");
    const session = await this.#session(key, emitted.model);
    const feeds = Object.fromEntries(emitted.inputs.map(({ name, leaf: input }) => [name, { values: valuesOf(input), shape: input.shape, dtype: input.dtype }]));
    const [values] = await session.run(feeds, emitted.outputNames);
    if (values === undefined || values.length !== sizeOf(node.shape)) throw new Error("the session returned another shape than was recorded");
    entry.node = leaf({ kind: "data", values }, node.shape, node.dtype);
    return values as Float32Array;
  }

  override readSync(): never {
    throw new Error(`The backend ${backendName} runs asynchronously: use await tensor.data() instead of dataSync().`);
  }

  override disposeData(dataId: object, force = false): boolean {
    if (!this.#data.has(dataId)) return true;
    const entry = this.#data.get(dataId);
    entry.references--;
    if (!force && entry.references > 0) return false;
    this.#data.delete(dataId);
    return true;
  }

  override refCount(dataId: object): number {
    return this.#data.has(dataId) ? this.#data.get(dataId).references : 0;
  }

  override incRef(dataId: object): void {
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

  override memory(): { unreliable: boolean } {
    return { unreliable: true };
  }

  override dispose(): void {
    for (const session of this.#sessions.values()) session.then((open) => open.close()).catch(() => undefined);
    this.#sessions.clear();
  }

  #session(key: string, model: Uint8Array): Promise<Session> {
    const known = this.#sessions.get(key);
    if (known !== undefined) return known;
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size >= 256 && oldest !== undefined) this.#sessions.delete(oldest);
    const made = openSession(model, this.device);
    this.#sessions.set(key, made);
    return made;
  }
}

function valuesOf(input: Node): TypedArray {
  if (input.source?.kind !== "data") throw new Error("a lazy read reached an input that has no values yet (a tensor of a function being compiled?)");
  return input.source.values;
}

/** Registers backend and kernels with tfjs, once per process, and returns the backend. `tf.setBackend("onnx")` then selects it. */
export function registerOnnxBackend(device: Device): OnnxBackend {
  const existing = engine().findBackend(backendName);
  if (existing instanceof OnnxBackend) return existing;
  const backend = new OnnxBackend(device);
  registerBackend(backendName, () => backend, 2);
  for (const [kernelName, rule] of Object.entries(kernels)) {
    registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, attrs }) => {
        const nodes = Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, info === undefined || info === null ? undefined : backend.nodeOf(info)]));
        const made = rule(nodes, { ...attrs });
        return Array.isArray(made) ? (made as Node[]).map((node) => backend.wrap(node)) : backend.wrap(made as Node);
      },
    });
  }
  return backend;
}
