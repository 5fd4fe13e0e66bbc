/**
 * Graph → ONNX bytes. Equal nodes are emitted once; nodes that no output needs are never reached. The bytes depend on structure alone: names
 * are numbers in emission order, so the same computation gives the same bytes, and their hash can key a cache of compiled sessions.
 */
import { basename } from "node:path";
import { bytesPerElement, onnxType, sizeOf, type Attribute, type DType, type Node, type Shape } from "./graph.ts";
import { encodeModel, type AttributeMessage, type NodeMessage, type TensorMessage, type ValueMessage } from "./onnx_proto.ts";

/** Data leaves up to this size go into the file; larger ones become inputs that are handed over at each run. */
const inlineBytes = 4_096;

export interface Emitted {
  /** The file's bytes; encoded when asked for. */
  readonly model: Uint8Array;
  /** Equal for equal structures and shapes (and equal constants), whatever the inputs hold. */
  readonly structure: string;
  /** Graph inputs in order, each with the leaf that feeds it. */
  readonly inputs: readonly { readonly name: string; readonly leaf: Node }[];
  readonly outputNames: readonly string[];
  /** Files that the model's external data lies in; they must be beside the model file. */
  readonly files: readonly string[];
  readonly nodeCount: number;
  /** Of all nodes' results together: a measure of the work. */
  readonly elements: number;
}

export interface EmitOptions {
  /**
   * "compile": values known by now are constants of the graph where they are small; only a caller's arguments vary.
   * "lazy": whatever a program wrote is an input, weights too: a learning rate that changes with each step must not make another graph of it.
   */
  readonly mode?: "compile" | "lazy";
  /** Outputs that are written over arrays of the caller's: an operator gives them itself, and nothing copies them. */
  readonly inPlace?: ReadonlySet<number>;
  /** What inputs and outputs are called, in order; default: input_0 …, output_0 …. */
  readonly names?: { readonly inputs: readonly string[]; readonly outputs: readonly string[] };
  /** A leaf to take instead of a node that has been computed before. */
  readonly computed?: (node: Node) => Node | undefined;
}

/** @param declaredInputs input leaves in the order of the caller's arguments; they become inputs even when nothing uses them */
export function emit(outputs: readonly Node[], declaredInputs: readonly Node[] = [], options: EmitOptions = {}): Emitted {
  const state = new Emitter(options);
  for (const input of declaredInputs) state.nameOf(input);
  const values = outputs.map((value) => state.nameOf(value));
  const names = outputs.map((value, at) => state.asOutput(values[at] ?? "", value, at, options.inPlace?.has(at) === true));
  if (options.inPlace !== undefined) state.addStop();
  let encoded: Uint8Array | undefined;
  return {
    get model() {
      return (encoded ??= encodeModel({ name: "everlora", node: state.nodes, initializer: state.initializers, input: state.graphInputs, output: state.graphOutputs }));
    },
    get structure() {
      return state.structure();
    },
    inputs: state.inputs,
    outputNames: names,
    files: [...state.files],
    nodeCount: state.nodes.length,
    elements: state.elements,
  };
}

/** The first output of a graph that writes in place, which runtime.ts ends its runs with. */
export const stopOutput = "stop";
/** TensorProto.DataType.BFLOAT16: no tensor of ours has it. */
const bfloat16 = 16;

/** What cosines and sines are called: runtime.ts leaves them to the processor by name. A model has two for each kind of its layers. */
export const angleNodes: readonly string[] = Array.from({ length: 16 }, (_, at) => `angle_${at}`);

class Emitter {
  readonly nodes: NodeMessage[] = [];
  readonly initializers: TensorMessage[] = [];
  readonly graphInputs: ValueMessage[] = [];
  readonly graphOutputs: ValueMessage[] = [];
  readonly inputs: { name: string; leaf: Node }[] = [];
  readonly files = new Set<string>();
  elements = 0;
  readonly #named = new Map<Node, string>();
  #angles = 0;
  readonly #byKey = new Map<string, string>();
  readonly #inputNames = new Map<object, Map<string, string>>();
  readonly #lazy: boolean;
  readonly #names: EmitOptions["names"];
  readonly #computed: (node: Node) => Node | undefined;
  /** The values that the outputs repeat. */
  readonly #returned: string[] = [];
  #count = 0;

  constructor({ mode = "compile", computed = () => undefined, names }: EmitOptions) {
    this.#names = names;
    this.#lazy = mode === "lazy";
    this.#computed = computed;
  }

  /** What was emitted, in order: names are numbers, and a node's key names its inputs, so it says all that the bytes say. */
  structure(): string {
    return [JSON.stringify([this.graphInputs, this.graphOutputs, this.#returned]), ...this.#byKey.keys()].join("\n");
  }

  /** The name of a node's value, after everything that it needs was emitted. Iterative: a deep graph must not overflow the stack. */
  nameOf(wanted: Node): string {
    const stack: Node[] = [wanted];
    for (;;) {
      const current = stack.at(-1);
      if (current === undefined) break;
      if (this.#named.has(current)) {
        stack.pop();
        continue;
      }
      const computed = this.#computed(current);
      const missing = computed === undefined ? current.inputs.filter((input) => !this.#named.has(input)) : [];
      if (missing.length > 0) {
        stack.push(...missing);
        continue;
      }
      stack.pop();
      this.#named.set(current, this.#emit(computed ?? current));
    }
    return this.#get(wanted);
  }

  /** An output needs a name of its own, and must be computed: ONNX does not allow an input or initializer to be handed through. */
  asOutput(name: string, value: Node, at: number, direct = false): string {
    const outputName = this.#names?.outputs[at] ?? `output_${at}`;
    this.#returned.push(name);
    if (direct) this.#rename(name, outputName);
    else this.nodes.push({ name: outputName, opType: "Identity", domain: "", input: [name], output: [outputName], attribute: [] });
    this.graphOutputs.push(valueMessage(outputName, value.dtype, value.shape));
    return outputName;
  }

  addStop(): void {
    const [first] = this.inputs;
    if (first === undefined) throw new Error("a graph that writes in place has inputs");
    this.nodes.push({ name: stopOutput, opType: "Cast", domain: "", input: [first.name], output: [stopOutput], attribute: [attributeMessage(["to", { int: bfloat16 }])] });
    this.graphOutputs.unshift({ name: stopOutput, type: { tensorType: { elemType: bfloat16, shape: { dim: first.leaf.shape.map((side) => (side < 0 ? {} : { dimValue: side })) } } } });
  }

  /** @throws Error when something else needs the value */
  #rename(from: string, to: string): void {
    const maker = this.nodes.find(({ output }) => output.includes(from));
    if (maker === undefined || this.nodes.some(({ input }) => input.includes(from))) throw new Error(`${to} can't be written in place: it is no operator's result, or needed elsewhere`);
    maker.output = maker.output.map((name) => (name === from ? to : name));
  }

  #get(node: Node): string {
    const name = this.#named.get(node);
    if (name === undefined) throw new Error(`node ${node.op} was used before it was emitted`);
    return name;
  }

  #emit(node: Node): string {
    this.elements += sizeOf(node.shape);
    if (node.op === "Leaf") return this.#emitLeaf(node);
    if (node.op === "Fill") return this.#emitFill(node);
    if (node.op === "Absent") return "";
    const inputs = node.inputs.map((input) => this.#get(input));
    if (node.op === "Output") return node.index === 0 ? (inputs[0] ?? "") : `${inputs[0]}_${node.index}`;
    const key = JSON.stringify([node.op, node.domain, inputs, node.attributes, node.dtype, node.outputs?.length], distinct);
    return this.#once(key, (name) => {
      const outputs = node.outputs?.map((_, at) => (at === 0 ? name : `${name}_${at}`)) ?? [name];
      this.nodes.push({ name: node.op === "Cos" || node.op === "Sin" ? (angleNodes[this.#angles++] ?? name) : name, opType: node.op, domain: node.domain, input: inputs, output: outputs, attribute: Object.entries(node.attributes).map(attributeMessage) });
    });
  }

  #emitFill(node: Node): string {
    const value = node.fill ?? 0;
    const single = this.#once(`fill ${node.dtype} ${Object.is(value, -0) ? "-0" : value}`, (name) => {
      this.initializers.push({ name, dims: [], dataType: onnxType[node.dtype], rawData: oneElement(node.dtype, value) });
    });
    if (node.shape.length === 0) return single;
    const shape = this.#int64s(node.shape);
    return this.#once(`expand ${single} ${shape}`, (name) => {
      this.nodes.push({ name, opType: "Expand", domain: "", input: [single, shape], output: [name], attribute: [] });
    });
  }

  #int64s(values: Shape): string {
    const raw = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.#once(`int64 ${values.join(",")}`, (name) => {
      this.initializers.push({ name, dims: [values.length], dataType: onnxType.int64, rawData: raw });
    });
  }

  #emitLeaf(node: Node): string {
    const { source } = node;
    if (source === undefined) throw new Error("a leaf without a source");
    if (source.kind === "data" && source.values.byteLength <= inlineBytes && !(this.#lazy && source.given === true)) {
      const raw = new Uint8Array(source.values.buffer, source.values.byteOffset, source.values.byteLength);
      const key = `data ${node.dtype} [${node.shape.join(",")}] ${Buffer.from(raw).toString("latin1")}`;
      return this.#once(key, (name) => this.initializers.push({ name, dims: node.shape, dataType: onnxType[node.dtype], rawData: raw.slice() }));
    }
    if (source.kind === "file" && !this.#lazy) {
      return this.#once(`file ${source.path} ${source.offset} ${source.bytes} [${node.shape.join(",")}]`, (name) => {
        this.files.add(source.path);
        const expected = sizeOf(node.shape) * bytesPerElement[node.dtype];
        if (expected !== source.bytes) throw new Error(`external tensor of ${source.bytes} bytes for a shape of ${expected}`);
        this.initializers.push({
          name,
          dims: node.shape,
          dataType: onnxType[node.dtype],
          dataLocation: 1,
          externalData: [
            { key: "location", value: basename(source.path) },
            { key: "offset", value: String(source.offset) },
            { key: "length", value: String(source.bytes) },
          ],
        });
      });
    }
    // One input per array and shape, however many leaves look at it.
    const identity = source.kind === "data" ? source.values : source;
    const names = this.#inputNames.get(identity) ?? new Map<string, string>();
    this.#inputNames.set(identity, names);
    const shape = node.shape.join(",");
    const seen = names.get(shape);
    if (seen !== undefined) return seen;
    const name = this.#names?.inputs[this.inputs.length] ?? `input_${this.inputs.length}`;
    names.set(shape, name);
    this.inputs.push({ name, leaf: node });
    this.graphInputs.push(valueMessage(name, node.dtype, node.shape));
    return name;
  }

  #once(key: string, make: (name: string) => void): string {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const name = `v${this.#count++}`;
    this.#byKey.set(key, name);
    make(name);
    return name;
  }
}

/** JSON writes NaN and the infinities as null, and −0 as 0. */
function distinct(_name: string, value: unknown): unknown {
  return typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0)) ? `number ${Object.is(value, -0) ? "-0" : value}` : value;
}

function valueMessage(name: string, dtype: DType, shape: Shape): ValueMessage {
  return { name, type: { tensorType: { elemType: onnxType[dtype], shape: { dim: shape.map((side) => (side < 0 ? {} : { dimValue: side })) } } } };
}

/** AttributeProto.AttributeType: FLOAT 1, INT 2, STRING 3, INTS 7. */
function attributeMessage([name, attribute]: [string, Attribute]): AttributeMessage {
  if ("int" in attribute) return { name, type: 2, i: attribute.int };
  if ("ints" in attribute) return { name, type: 7, ints: attribute.ints };
  if ("float" in attribute) return { name, type: 1, f: attribute.float };
  return { name, type: 3, s: new TextEncoder().encode(attribute.string) };
}

function oneElement(dtype: DType, value: number): Uint8Array {
  switch (dtype) {
    case "float32":
      return new Uint8Array(Float32Array.of(value).buffer);
    case "float64":
      return new Uint8Array(Float64Array.of(value).buffer);
    case "int32":
      return new Uint8Array(Int32Array.of(value).buffer);
    case "int64":
      return new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
    case "int8":
    case "uint8":
      return Uint8Array.of(value & 255);
    case "bool":
      return Uint8Array.of(value === 0 ? 0 : 1);
    case "float16":
      throw new Error("float16 constants are not made here");
  }
}
