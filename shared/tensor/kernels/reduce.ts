/** Kernels that fold axes away, and those that run along one. */
import { binary, cast, fill, int64s, node, output, reshape, scalar, sizeOf, type Attributes, type Node } from "../graph.ts";
import { reversed, slice } from "./movement.ts";
import { axesOf, input, type Inputs, type Rule, type Rules } from "./rule.ts";

const x = (inputs: Inputs) => input(inputs, "x");
const countable = (inputs: Inputs) => (x(inputs).dtype === "bool" ? cast(x(inputs), "int32") : x(inputs));

function reduce(op: string, value: Node, axis: unknown, keepDims: unknown): Node {
  const axes = axesOf(axis, value.shape);
  const keep = keepDims === true;
  const shape = keep ? value.shape.map((side, at) => (axes.includes(at) ? 1 : side)) : value.shape.filter((_, at) => !axes.includes(at));
  if (axes.length === 0) return value;
  if (value.fill !== undefined && op === "ReduceSum") return fill(shape, value.dtype, value.fill * sizeOf(axes.map((at) => value.shape[at] ?? 1)));
  if (axes.every((at) => value.shape[at] === 1)) return reshape(value, shape);
  return node(op, [value, int64s(axes)], shape, value.dtype, { attributes: { keepdims: { int: Number(keep) } } });
}

/** @param ofNone the result over no element at all, where ONNX would give the least or greatest integer */
const booleans = (op: string, ofNone: 0 | 1): Rule => (inputs, { axis, keepDims }) => {
  const value = x(inputs);
  const folded = cast(reduce(op, cast(value, "int32"), axis, keepDims), "bool");
  return axesOf(axis, value.shape).some((at) => value.shape[at] === 0) ? fill(folded.shape, "bool", ofNone) : folded;
};

/** tfjs's least and greatest over NaN are NaN; ONNX Runtime's pass over it. */
const extreme = (op: string, axes: string): Rule => (inputs, attributes, strict) => {
  const value = x(inputs);
  const found = reduce(op, value, attributes[axes], attributes["keepDims"]);
  if (!strict || value.dtype !== "float32" || found === value) return found;
  const nan = cast(reduce("ReduceMax", cast(node("IsNaN", [value], value.shape, "bool"), "int32"), attributes[axes], attributes["keepDims"]), "bool");
  return node("Where", [nan, fill([], "float32", NaN), found], found.shape, "float32");
};

/** NaN is nowhere the least or greatest in tfjs. */
const position = (op: string, last: number): Rule => (inputs, { axis }, strict) => {
  const plain = countable(inputs);
  const value = strict && plain.dtype === "float32" ? node("Where", [node("IsNaN", [plain], plain.shape, "bool"), fill([], "float32", last), plain], plain.shape, "float32") : plain;
  const [at = 0] = axesOf(axis, value.shape);
  const attributes: Attributes = { axis: { int: at }, keepdims: { int: 0 } };
  return cast(node(op, [value], value.shape.filter((_, other) => other !== at), "int64", { attributes }), "int32");
};

/** Moved by so many places along an axis, ones moved in. */
function delayed(value: Node, axis: number, places: number): Node {
  if (sizeOf(value.shape) === 0) return value;
  const only = (by: number) => value.shape.map((_, at) => (at === axis ? by : 0));
  const kept = slice(value, only(0), value.shape.map((side, at) => (at === axis ? side - places : side)));
  return node("Pad", [kept, int64s([...only(places), ...only(0)]), scalar(1, value.dtype)], value.shape, value.dtype);
}

export const reductions: Rules = {
  Sum: (inputs, { axis, keepDims }) => reduce("ReduceSum", countable(inputs), axis, keepDims),
  Prod: (inputs, { axis, keepDims }) => reduce("ReduceProd", countable(inputs), axis, keepDims),
  Mean: (inputs, { axis, keepDims }) => reduce("ReduceMean", cast(x(inputs), "float32"), axis, keepDims),
  Max: extreme("ReduceMax", "reductionIndices"),
  Min: extreme("ReduceMin", "axis"),
  Any: booleans("ReduceMax", 0),
  All: booleans("ReduceMin", 1),
  ArgMax: position("ArgMax", -Infinity),
  ArgMin: position("ArgMin", Infinity),
  Softmax: (inputs, { dim }) => {
    const logits = cast(input(inputs, "logits"), "float32");
    const [axis = 0] = axesOf(dim, logits.shape);
    return node("Softmax", [logits], logits.shape, "float32", { attributes: { axis: { int: axis } } });
  },
  Cumsum: (inputs, { axis, exclusive, reverse }) => {
    const value = x(inputs);
    const [at = 0] = axesOf(axis, value.shape);
    return node("CumSum", [value, reshape(int64s([at]), [])], value.shape, value.dtype, { attributes: { exclusive: { int: Number(exclusive === true) }, reverse: { int: Number(reverse === true) } } });
  },
  // ONNX has no such operator: the product of 1, 2, 4, … elements up to each, by doubling, in a handful of nodes.
  Cumprod: (inputs, { axis, exclusive, reverse }) => {
    const value = x(inputs);
    const [at = 0] = axesOf(axis, value.shape);
    const side = value.shape[at] ?? 0;
    const turned = (list: Node) => (reverse === true ? reversed(list, [at]) : list);
    let products = exclusive === true ? delayed(turned(value), at, 1) : turned(value);
    for (let reach = 1; reach < side; reach *= 2) products = binary("Mul", products, delayed(products, at, reach), value.shape, value.dtype);
    return turned(products);
  },
  // Sorted also where that was not asked for: equal values then keep their order, as tfjs has it.
  TopK: (inputs, { k }) => {
    const value = x(inputs);
    const shape = [...value.shape.slice(0, -1), Number(k)];
    const outputs = [{ shape, dtype: value.dtype }, { shape, dtype: "int64" }] as const;
    const attributes: Attributes = { axis: { int: -1 }, largest: { int: 1 }, sorted: { int: 1 } };
    const top = node("TopK", [value, int64s([Number(k)])], shape, value.dtype, { attributes, outputs });
    return [output(top, 0), cast(output(top, 1), "int32")];
  },
};
