/**
 * Checks a recorded graph before it becomes bytes: does each node declare the shape and type that its ONNX operator gives? A wrong declaration is
 * silent otherwise: later rules compute on with it, and ONNX Runtime goes by its own inference. Tests put this into `OnnxBackend.inspect`; at
 * run time nothing does.
 */
import { arrayOf, bytesPerElement, sameShape, sizeOf, type DType, type Node, type Shape } from "./graph.ts";

type Inference = (node: Node) => { readonly shape: Shape; readonly dtype: DType };

const anything: readonly DType[] = ["float32", "float64", "int32", "bool", "int64", "float16"];
const numeric: readonly DType[] = ["float32", "float64", "int32", "int64", "float16"];

const names = (text: string) => text.split(" ");
const table = (list: readonly string[], inference: Inference) => Object.fromEntries(list.map((op) => [op, inference]));

/** One row per operator that a rule may record: what ONNX's specification says of its output. An operator without a row is a fault. */
const inferences: Readonly<Record<string, Inference | undefined>> = {
  ...table(names("Acos Acosh Asin Asinh Atan Atanh Ceil Cosh Elu Erf Floor Log Reciprocal Round Sigmoid Sinh Softplus Sqrt Tan Tanh Selu LeakyRelu Softmax"), (node) => like(only(node, ["float32"]))),
  ...table(names("Cos Exp Sin"), (node) => like(only(node, ["float32", "float64"]))),
  ...table(names("Abs Neg Relu Sign"), (node) => like(only(node, numeric))),
  ...table(names("IsNaN IsInf"), (node) => ({ shape: only(node, ["float32"]).shape, dtype: "bool" })),
  Not: (node) => like(only(node, ["bool"])),
  ...table(names("Add Sub Mul Div Max Min Pow Mod"), (node) => ({ shape: broadcast(node.inputs), dtype: alike(node, numeric) })),
  ...table(names("Less LessOrEqual Greater GreaterOrEqual"), (node) => ({ shape: broadcast(node.inputs), dtype: alike(node, numeric) && "bool" })),
  Equal: (node) => ({ shape: broadcast(node.inputs), dtype: alike(node, anything) && "bool" }),
  ...table(names("And Or"), (node) => ({ shape: broadcast(node.inputs), dtype: alike(node, ["bool"]) })),
  Where: (node) => {
    const [condition, ...choices] = node.inputs;
    demand(condition?.dtype === "bool", "the condition is no boolean");
    // ONNX allows booleans; ONNX Runtime has no kernel for them.
    return { shape: broadcast(node.inputs), dtype: alike({ ...node, inputs: choices }, numeric) };
  },
  Clip: (node) => {
    demand(node.inputs.slice(1).every(({ shape, dtype }) => shape.length === 0 && dtype === node.inputs[0]?.dtype), "a bound is no scalar of the input's type");
    return like(only({ ...node, inputs: node.inputs.slice(0, 1) }, numeric));
  },
  Cast: (node) => ({ shape: at(node, 0).shape, dtype: node.dtype }),
  Expand: (node) => ({ shape: broadcast([at(node, 0), { shape: constant(node, 1) }]), dtype: at(node, 0).dtype }),
  Reshape: (node) => {
    const shape = constant(node, 1);
    demand(!shape.includes(-1), "the shape is open");
    demand(!shape.includes(0) || int(node, "allowzero", 0) === 1, "a 0 in the shape copies the input's side unless allowzero is set");
    demand(sizeOf(shape) === sizeOf(at(node, 0).shape), `${sizeOf(at(node, 0).shape)} elements do not fit the shape`);
    return { shape, dtype: at(node, 0).dtype };
  },
  Transpose: (node) => {
    const { shape, dtype } = at(node, 0);
    const order = ints(node, "perm");
    demand(order.length === shape.length && [...order].sort((a, b) => a - b).every((axis, place) => axis === place), `${order.join(",")} is no order of the axes`);
    return { shape: order.map((axis) => shape[axis] ?? NaN), dtype };
  },
  Slice: (node) => {
    const { shape, dtype } = at(node, 0);
    const [begin, end, axes, steps] = [constant(node, 1), constant(node, 2), constant(node, 3), constant(node, 4)];
    demand([end, axes, steps].every(({ length }) => length === begin.length), "the bounds are of different lengths");
    return { shape: shape.map((side, axis) => (axes.includes(axis) ? sliced(side, begin[axes.indexOf(axis)] ?? 0, end[axes.indexOf(axis)] ?? 0, steps[axes.indexOf(axis)] ?? 1) : side)), dtype };
  },
  Concat: (node) => {
    const axis = int(node, "axis", NaN);
    const { shape, dtype } = at(node, 0);
    for (const input of node.inputs) demand(input.dtype === dtype && input.shape.length === shape.length && input.shape.every((side, other) => other === axis || side === shape[other]), "the parts do not fit together");
    return { shape: shape.map((side, other) => (other === axis ? node.inputs.reduce((sum, input) => sum + (input.shape[axis] ?? NaN), 0) : side)), dtype };
  },
  Pad: (node) => {
    const { shape, dtype } = at(node, 0);
    const pads = constant(node, 1);
    demand(pads.length === 2 * shape.length && at(node, 2).dtype === dtype, "the paddings do not fit the input");
    return { shape: shape.map((side, axis) => side + (pads[axis] ?? NaN) + (pads[shape.length + axis] ?? NaN)), dtype };
  },
  Tile: (node) => {
    const { shape, dtype } = at(node, 0);
    const repeats = constant(node, 1);
    demand(repeats.length === shape.length, "the repeats do not fit the input");
    return { shape: shape.map((side, axis) => side * (repeats[axis] ?? NaN)), dtype };
  },
  ...table(names("ReduceSum ReduceProd ReduceMean ReduceMax ReduceMin"), (node) => reduced(node, constant(node, 1), only({ ...node, inputs: node.inputs.slice(0, 1) }, numeric).dtype)),
  ...table(names("ArgMax ArgMin"), (node) => reduced(node, [int(node, "axis", 0)], "int64")),
  CumSum: (node) => {
    demand(at(node, 1).shape.length === 0, "the axis is no scalar");
    return like(at(node, 0));
  },
  TopK: (node) => {
    const { shape, dtype } = at(node, 0);
    const [k = NaN] = constant(node, 1);
    demand(k <= (shape.at(-1) ?? 0), `${k} of ${shape.at(-1)}`);
    const taken = [...shape.slice(0, -1), k];
    demand(node.outputs?.length === 2 && node.outputs.every((output) => sameShape(output.shape, taken)) && node.outputs[0]?.dtype === dtype && node.outputs[1]?.dtype === "int64", "the outputs are declared otherwise");
    return { shape: taken, dtype };
  },
  Gather: (node) => {
    const [value, indices] = [at(node, 0), at(node, 1)];
    const axis = int(node, "axis", 0);
    demand(indices.dtype === "int32" || indices.dtype === "int64", `indices are ${indices.dtype}`);
    demand(axis >= 0 && axis < value.shape.length, `there is no axis ${axis}`);
    return { shape: [...value.shape.slice(0, axis), ...indices.shape, ...value.shape.slice(axis + 1)], dtype: value.dtype };
  },
  GatherND: (node) => {
    const [value, indices] = [at(node, 0), at(node, 1)];
    const depth = indices.shape.at(-1) ?? NaN;
    demand(indices.dtype === "int64" && depth <= value.shape.length, "the indices do not fit the input");
    return { shape: [...indices.shape.slice(0, -1), ...value.shape.slice(depth)], dtype: value.dtype };
  },
  ScatterND: (node) => {
    const [value, indices, updates] = [at(node, 0), at(node, 1), at(node, 2)];
    const depth = indices.shape.at(-1) ?? NaN;
    demand(indices.dtype === "int64" && updates.dtype === value.dtype && sameShape(updates.shape, [...indices.shape.slice(0, -1), ...value.shape.slice(depth)]), "the updates do not fit the indices");
    return like(value);
  },
  QuantizeLinear: (node) => {
    const [x, step, zero] = [at(node, 0), at(node, 1), at(node, 2)];
    demand(x.dtype === "float32" && step.dtype === "float32" && zero.dtype === "uint8" && sameShape(step.shape, zero.shape) && (step.shape.length === 0 || step.shape[0] === x.shape[int(node, "axis", 1)]), "the steps do not fit the axis");
    return { shape: x.shape, dtype: zero.dtype };
  },
  MatMulIntegerToFloat: (node) => {
    const [a, b, , scale, zero] = [at(node, 0), at(node, 1), at(node, 2), at(node, 3), at(node, 4)];
    demand(a.dtype === "uint8" && b.dtype === "int8" && zero.dtype === "uint8" && a.shape[1] === b.shape[0], "the integers do not fit together");
    demand(scale.shape.length === 0 || sameShape(scale.shape, b.shape.slice(1)), "the scales do not fit the columns");
    return { shape: [a.shape[0] ?? NaN, b.shape[1] ?? NaN], dtype: "float32" };
  },
  MatMulNBits: (node) => {
    const [x, w, scale] = [at(node, 0), at(node, 1), at(node, 2)];
    const [inner, outer, bits, block] = [int(node, "K", NaN), int(node, "N", NaN), int(node, "bits", NaN), int(node, "block_size", NaN)];
    const blocks = Math.ceil(inner / block);
    demand(x.dtype === "float32" && x.shape.at(-1) === inner && w.dtype === "uint8" && sameShape(w.shape, [outer, blocks, (block * bits) / 8]) && sameShape(scale.shape, [outer, blocks]), "the blocks do not fit the input");
    return { shape: [...x.shape.slice(0, -1), outer], dtype: "float32" };
  },
  SimplifiedLayerNormalization: (node) => {
    const [x, scale] = [at(node, 0), at(node, 1)];
    demand(node.inputs.length === 2 && alike(node, ["float32"]) === "float32" && sameShape(scale.shape, x.shape.slice(-1)) && int(node, "axis", NaN) === -1, "the scale does not fit the last axis");
    demand(node.outputs?.length === 2 && sameShape(node.outputs[0]?.shape ?? [], x.shape) && sameShape(node.outputs[1]?.shape ?? [], [...x.shape.slice(0, -1), 1]), "the outputs are declared otherwise");
    return like(x);
  },
  RotaryEmbedding: (node) => {
    const [x, places, cos, sin] = [at(node, 0), at(node, 1), at(node, 2), at(node, 3)];
    const [rows = NaN, , length = NaN, size = NaN] = x.shape;
    demand(x.shape.length === 4 && x.dtype === "float32" && places.dtype === "int64" && sameShape(places.shape, [rows, length]), "the places do not fit the input");
    demand(sameShape(cos.shape, sin.shape) && cos.shape.length === 2 && cos.shape[1] === size / 2 && cos.dtype === "float32" && sin.dtype === "float32", "the tables do not fit a head");
    return like(x);
  },
  GroupQueryAttention: (node) => {
    const [qkv, keys, values, lasts, most, cos, sin] = [at(node, 0), at(node, 3), at(node, 4), at(node, 5), at(node, 6), at(node, 7), at(node, 8)];
    const [rows = NaN, length = NaN, width] = qkv.shape;
    const [heads, pairs, size = NaN] = [int(node, "num_heads", NaN), int(node, "kv_num_heads", NaN), keys.shape[3]];
    demand(at(node, 1).op === "Absent" && at(node, 2).op === "Absent" && qkv.shape.length === 3 && width === (heads + 2 * pairs) * size, "queries, keys and values do not lie as one");
    demand(keys.shape.length === 4 && sameShape(keys.shape, values.shape) && keys.shape[0] === rows && keys.shape[1] === pairs && [qkv, keys, values, cos, sin].every(({ dtype }) => dtype === "float32"), "the cache does not fit the heads");
    demand(lasts.dtype === "int32" && sameShape(lasts.shape, [rows]) && most.dtype === "int32" && sameShape(most.shape, [1]), "the positions do not fit the rows");
    demand(cos.shape.length === 2 && sameShape(cos.shape, sin.shape) && (cos.shape[1] ?? NaN) * 2 <= size, "the tables do not fit a head");
    demand(node.outputs?.length === 3 && sameShape(node.outputs[1]?.shape ?? [], keys.shape) && sameShape(node.outputs[2]?.shape ?? [], values.shape), "the outputs are declared otherwise");
    return { shape: [rows, length, heads * size], dtype: "float32" };
  },
  ScatterElements: (node) => {
    const [value, indices, updates] = [at(node, 0), at(node, 1), at(node, 2)];
    demand(indices.dtype === "int64" && updates.dtype === value.dtype && sameShape(indices.shape, updates.shape) && indices.shape.length === value.shape.length, "the updates do not fit the indices");
    return like(value);
  },
  Conv: (node) => {
    const [value, filter] = [at(node, 0), at(node, 1)];
    demand((filter.shape[1] ?? NaN) * int(node, "group", 1) === value.shape[1] && (filter.shape[0] ?? NaN) % int(node, "group", 1) === 0, "the filter does not fit the channels");
    demand(sameShape(filter.shape.slice(2), ints(node, "kernel_shape")), "the filter has another size");
    return { shape: [value.shape[0] ?? NaN, filter.shape[0] ?? NaN, ...windows(node, value, ints(node, "dilations"))], dtype: alike(node, ["float32"]) };
  },
  ConvTranspose: (node) => {
    const [value, filter] = [at(node, 0), at(node, 1)];
    const [pads, strides, dilations, rest] = [ints(node, "pads"), ints(node, "strides"), ints(node, "dilations"), ints(node, "output_padding")];
    demand(filter.shape[0] === value.shape[1] && (value.shape[1] ?? NaN) % int(node, "group", 1) === 0, "the filter does not fit the channels");
    demand(rest.every((side, axis) => side >= 0 && side < Math.max(strides[axis] ?? 0, dilations[axis] ?? 0)), `no room for ${rest.join(",")} more`);
    const sides = value.shape.slice(2).map((side, axis) => (side - 1) * (strides[axis] ?? NaN) + ((filter.shape[axis + 2] ?? NaN) - 1) * (dilations[axis] ?? NaN) + 1 - (pads[axis] ?? NaN) - (pads[axis + 2] ?? NaN) + (rest[axis] ?? NaN));
    return { shape: [value.shape[0] ?? NaN, (filter.shape[1] ?? NaN) * int(node, "group", 1), ...sides], dtype: alike(node, ["float32"]) };
  },
  ...table(names("MaxPool AveragePool"), (node) => {
    const value = only(node, ["float32"]);
    const shape = [...value.shape.slice(0, 2), ...windows(node, value, [1, 1])];
    demand(node.outputs === undefined || node.outputs.every((output) => sameShape(output.shape, shape)), "the outputs are declared otherwise");
    return { shape, dtype: value.dtype };
  }),
  MatMul: (node) => product(node, false, false, numeric),
  FusedMatMul: (node) => product(node, int(node, "transA", 0) === 1, int(node, "transB", 0) === 1, ["float32"]),
};

/** @throws Error that names the node, its inputs, and what is wrong with it */
export function verifyGraph(outputs: readonly Node[]): void {
  const seen = new Set<Node>();
  const stack = [...outputs];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    try {
      verifyNode(node);
    } catch (error) {
      throw new Error(`${describe(node)}, of ${node.inputs.map(describe).join(", ") || "nothing"}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    stack.push(...node.inputs);
  }
}

function verifyNode(node: Node): void {
  demand(node.shape.every((side) => Number.isSafeInteger(side) && side >= 0), "a side is no whole number");
  if (node.op === "Leaf") return verifyLeaf(node);
  if (node.op === "Absent") return;
  if (node.op === "Fill") return demand(node.fill !== undefined && (node.dtype === "float32" || Number.isInteger(node.fill)), `it cannot repeat ${node.fill}`);
  if (node.op === "Output") {
    const declared = node.inputs[0]?.outputs?.[node.index ?? NaN];
    return demand(declared !== undefined && declared.dtype === node.dtype && sameShape(declared.shape, node.shape), `there is no such output ${node.index}`);
  }
  const infer = inferences[node.op];
  if (infer === undefined) throw new Error("the verifier has no row for this operator");
  const implied = infer(node);
  demand(implied.dtype === node.dtype && sameShape(implied.shape, node.shape), `the operator gives ${implied.dtype} [${implied.shape.join(",")}]`);
}

function verifyLeaf({ source, shape, dtype }: Node): void {
  if (source?.kind === "data") demand(source.values.length === sizeOf(shape) && source.values instanceof arrayOf[dtype], `its data are ${source.values.length} elements of ${source.values.constructor.name}`);
  if (source?.kind === "file") demand(source.bytes === sizeOf(shape) * bytesPerElement[dtype] && source.offset % bytesPerElement[dtype] === 0, `its region has ${source.bytes} bytes from ${source.offset}`);
  demand(source !== undefined, "it comes from nowhere");
}

function demand(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

function at(node: Node, index: number): Node {
  const input = node.inputs[index];
  if (input === undefined) throw new Error(`input ${index} is missing`);
  return input;
}

const like = ({ shape, dtype }: Node) => ({ shape, dtype });

/** The single input, of one of the types. */
function only(node: Node, types: readonly DType[]): Node {
  const input = at(node, 0);
  demand(node.inputs.length === 1, `it has ${node.inputs.length} inputs`);
  demand(types.includes(input.dtype), `its input is ${input.dtype}`);
  return input;
}

/** The type that all inputs share. */
function alike(node: Node, types: readonly DType[]): DType {
  const { dtype } = at(node, 0);
  demand(types.includes(dtype) && node.inputs.every((input) => input.dtype === dtype), "its inputs' types do not go together");
  return dtype;
}

/** numpy's broadcasting. */
function broadcast(inputs: readonly { readonly shape: Shape }[]): Shape {
  const rank = Math.max(...inputs.map(({ shape }) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const sides = inputs.map(({ shape }) => shape[axis - rank + shape.length] ?? 1).filter((side) => side !== 1);
    demand(new Set(sides).size <= 1, `axis ${axis} has the sides ${sides.join(" and ")}`);
    return sides[0] ?? 1;
  });
}

function product(node: Node, turnA: boolean, turnB: boolean, types: readonly DType[]): { shape: Shape; dtype: DType } {
  const turned = ({ shape }: Node, turn: boolean) => [shape.at(turn ? -1 : -2) ?? NaN, shape.at(turn ? -2 : -1) ?? NaN] as const;
  const [a, b] = [at(node, 0), at(node, 1)];
  const [[rows, inner], [other, columns]] = [turned(a, turnA), turned(b, turnB)];
  demand(inner === other, `the inner sides are ${inner} and ${other}`);
  return { shape: [...broadcast([a, b].map(({ shape }) => ({ shape: shape.slice(0, -2) }))), rows, columns], dtype: alike(node, types) };
}

function reduced(node: Node, axes: Shape, dtype: DType): { shape: Shape; dtype: DType } {
  const { shape } = at(node, 0);
  demand(axes.every((axis) => axis >= 0 && axis < shape.length), `there is no axis ${axes.join(" or ")}`);
  if (int(node, "keepdims", 1) === 1) return { shape: shape.map((side, axis) => (axes.includes(axis) ? 1 : side)), dtype };
  return { shape: shape.filter((_, axis) => !axes.includes(axis)), dtype };
}

/** How many places a window has along each of the last two axes. */
function windows(node: Node, { shape }: Node, dilations: readonly number[]): number[] {
  const [pads, strides, sides] = [ints(node, "pads"), ints(node, "strides"), ints(node, "kernel_shape")];
  return sides.map((side, axis) => Math.floor(((shape[axis + 2] ?? NaN) + (pads[axis] ?? NaN) + (pads[axis + 2] ?? NaN) - ((side - 1) * (dilations[axis] ?? NaN) + 1)) / (strides[axis] ?? NaN)) + 1);
}

/** How many elements ONNX's Slice takes of an axis. */
function sliced(side: number, begin: number, end: number, step: number): number {
  const [low, high] = step > 0 ? [0, side] : [-1, side - 1];
  const clamped = (bound: number) => Math.min(Math.max(bound < 0 ? bound + side : bound, low), high);
  return Math.max(0, Math.ceil((clamped(end) - clamped(begin)) / step));
}

/** An int64 input whose elements are known. */
function constant(node: Node, index: number): number[] {
  const input = at(node, index);
  if (input.dtype !== "int64" || input.source?.kind !== "data") throw new Error(`input ${index} is no int64 constant`);
  return Array.from(input.source.values, Number);
}

function int(node: Node, name: string, otherwise: number): number {
  const attribute = node.attributes[name];
  return attribute !== undefined && "int" in attribute ? attribute.int : otherwise;
}

function ints(node: Node, name: string): readonly number[] {
  const attribute = node.attributes[name];
  if (attribute === undefined || !("ints" in attribute)) throw new Error(`the attribute ${name} is missing`);
  return attribute.ints;
}

const describe = ({ op, dtype, shape }: Node) => `${op} ${dtype} [${shape.join(",")}]`;
