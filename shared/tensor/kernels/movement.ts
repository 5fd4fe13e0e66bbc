/** Kernels that move elements without computing: shapes, slices and joins. */
import { backend_util, slice_util, util, type DataType, type TensorInfo } from "@tensorflow/tfjs-core";
import { expand, fill, int64s, leaf, node, reshape, sameShape, scalar, sizeOf, transpose, uncut, type Node, type Shape } from "../graph.ts";
import { axesOf, input, type Inputs, type Rules } from "./rule.ts";

const x = (inputs: Inputs) => input(inputs, "x");
const listed = (inputs: Inputs): Node[] => Object.values(inputs).filter((value) => value !== undefined);
const withAxis = (shape: Shape, at: number, side: number): number[] => shape.map((old, axis) => (axis === at ? side : old));
const inserted = (shape: Shape, at: number): number[] => [...shape.slice(0, at), 1, ...shape.slice(at)];
/** tfjs's helpers take a tensor, of which they read the shape. */
export const shaped = ({ shape, dtype }: Node): TensorInfo => ({ dataId: {}, shape: [...shape], dtype: dtype as DataType });
/** Where a new axis goes: a negative one counts from behind the last. */
function newAxis(dim: unknown, rank: number): number {
  const at = Number(dim);
  util.assert(-(rank + 1) <= at && at <= rank, () => `Axis must be in the interval [${-(rank + 1)}, ${rank}]`);
  return at < 0 ? rank + 1 + at : at;
}

/** ONNX Slice, only over the axes that it changes. With a negative step `begin` is inclusive and `end` exclusive, going down. */
function stridedSlice(value: Node, begin: Shape, end: Shape, steps: Shape, shape: Shape): Node {
  const axes = begin.map((_, axis) => axis).filter((axis) => begin[axis] !== 0 || end[axis] !== value.shape[axis] || steps[axis] !== 1);
  if (axes.length === 0) return value;
  if (value.fill !== undefined) return fill(shape, value.dtype, value.fill);
  const pick = (list: Shape) => int64s(axes.map((axis) => list[axis] ?? 0));
  return node("Slice", [value, pick(begin), pick(end), int64s(axes), pick(steps)], shape, value.dtype);
}

export function slice(value: Node, begin: Shape, size: Shape): Node {
  return stridedSlice(value, begin, begin.map((from, axis) => from + (size[axis] ?? 0)), begin.map(() => 1), size);
}

export function reversed(value: Node, axes: readonly number[]): Node {
  const pick = (flipped: (side: number) => number, plain: (side: number) => number) => value.shape.map((side, axis) => (axes.includes(axis) ? flipped(side) : plain(side)));
  return stridedSlice(value, pick((side) => side - 1, () => 0), pick((side) => -side - 1, (side) => side), pick(() => -1, () => 1), value.shape);
}

function concat(parts: readonly Node[], axis: number): Node {
  const [any] = parts;
  if (any === undefined) throw new TypeError("Concat without inputs");
  const full = parts.filter((part) => sizeOf(part.shape) > 0);
  const [first] = full;
  const side = parts.reduce((sum, part) => sum + (part.shape[axis] ?? 0), 0);
  if (first === undefined) return fill(withAxis(any.shape, axis, side), any.dtype, 0);
  if (full.length === 1) return first;
  const whole = uncut(full, axis);
  if (whole !== null) return whole;
  return node("Concat", full, withAxis(first.shape, axis, side), first.dtype, { attributes: { axis: { int: axis } } });
}

/** A constant list of numbers. */
export function numbers(list: readonly number[], dtype: DataType): Node {
  const values = dtype === "int32" ? Int32Array.from(list) : Float32Array.from(list);
  return leaf({ kind: "data", values }, [values.length], dtype === "int32" ? "int32" : "float32");
}

export const movement: Rules = {
  Reshape: (inputs, { shape }) => {
    const wanted = shape as number[];
    const known = sizeOf(wanted.filter((side) => side !== -1));
    return reshape(x(inputs), wanted.map((side) => (side === -1 ? sizeOf(x(inputs).shape) / known : side)));
  },
  ExpandDims: (inputs, { dim }) => {
    const value = input(inputs, "input");
    return reshape(value, inserted(value.shape, newAxis(dim, value.shape.length)));
  },
  Transpose: (inputs, { perm }) => transpose(x(inputs), perm as number[]),
  Slice: (inputs, { begin, size }) => {
    const value = x(inputs);
    const [from = [], sides = []] = slice_util.parseSliceParams(shaped(value), begin as number | number[], size as number | number[]);
    slice_util.assertParamsValid(shaped(value), from, sides);
    return slice(value, from, sides);
  },
  StridedSlice: (inputs, attributes) => {
    const value = x(inputs);
    const a = attributes as Record<"begin" | "end" | "strides", number[]> & Record<"beginMask" | "endMask" | "ellipsisMask" | "newAxisMask" | "shrinkAxisMask", number>;
    const info = slice_util.sliceInfo([...value.shape], a.begin, a.end, a.strides, a.beginMask, a.endMask, a.ellipsisMask, a.newAxisMask, a.shrinkAxisMask);
    if (info.isIdentity) return reshape(value, info.finalShape);
    // ONNX reads -1 as "the last"; to go down past the first element the end must lie before all of them.
    const end = info.end.map((to, axis) => (to < 0 ? -(value.shape[axis] ?? 0) - 1 : to));
    const sides = slice_util.computeOutShape(info.begin, info.end, info.strides).map((side) => Math.max(side, 0));
    return reshape(stridedSlice(value, info.begin, end, info.strides, sides), info.finalShape);
  },
  Concat: (inputs, { axis }) => {
    const parts = listed(inputs);
    const [at = 0] = axesOf(axis, parts[0]?.shape ?? []);
    backend_util.assertParamsConsistent(parts.map(({ shape }) => [...shape]), at);
    return concat(parts, at);
  },
  Pack: (inputs, { axis }) => {
    const parts = listed(inputs);
    const [first] = parts;
    const at = newAxis(axis, first?.shape.length ?? 0);
    for (const part of parts) {
      util.assertShapesMatch([...(first?.shape ?? [])], [...part.shape], "All tensors passed to stack must have matching shapes");
      util.assert(part.dtype === first?.dtype, () => "All tensors passed to stack must have matching dtypes");
    }
    return concat(parts.map((part) => reshape(part, inserted(part.shape, at))), at);
  },
  Unpack: (inputs, { axis }) => {
    const value = input(inputs, "value");
    const [at = 0] = axesOf(axis, value.shape);
    const rest = value.shape.filter((_, other) => other !== at);
    const origin = value.shape.map(() => 0);
    return Array.from({ length: value.shape[at] ?? 0 }, (_, row) => reshape(slice(value, withAxis(origin, at, row), withAxis(value.shape, at, 1)), rest));
  },
  SplitV: (inputs, { numOrSizeSplits, axis }) => {
    const value = x(inputs);
    const [at = 0] = axesOf(axis, value.shape);
    const sizes = backend_util.prepareSplitSize(shaped(value), numOrSizeSplits as number | number[], at);
    const origin = value.shape.map(() => 0);
    return sizes.map((size, part) => slice(value, withAxis(origin, at, sizes.slice(0, part).reduce((sum, before) => sum + before, 0)), withAxis(value.shape, at, size)));
  },
  PadV2: (inputs, { paddings, constantValue }) => {
    const value = x(inputs);
    const pads = paddings as [number, number][];
    const shape = value.shape.map((side, axis) => side + (pads[axis]?.[0] ?? 0) + (pads[axis]?.[1] ?? 0));
    if (sameShape(shape, value.shape)) return value;
    if (value.fill !== undefined && value.fill === constantValue) return fill(shape, value.dtype, value.fill);
    return node("Pad", [value, int64s([...pads.map(([before]) => before), ...pads.map(([, after]) => after)]), scalar(Number(constantValue), value.dtype)], shape, value.dtype);
  },
  Tile: (inputs, { reps }) => {
    const value = x(inputs);
    const repeats = reps as number[];
    const shape = value.shape.map((side, axis) => side * (repeats[axis] ?? 1));
    if (value.fill !== undefined || value.shape.every((side, axis) => side === 1 || repeats[axis] === 1)) return expand(value, shape);
    return node("Tile", [value, int64s(repeats)], shape, value.dtype);
  },
  Reverse: (inputs, { dims }) => reversed(x(inputs), axesOf(dims, x(inputs).shape)),
  Range: (_inputs, { start, stop, step, dtype }) => {
    const [from, to] = [Number(start), Number(stop)];
    // tfjs counts down by itself when the step was left at its default of 1.
    const by = to < from && Number(step) === 1 ? -1 : Number(step);
    const length = Math.max(0, Math.ceil((to - from) / by));
    return numbers(Array.from({ length }, (_, at) => from + at * by), (dtype ?? "float32") as DataType);
  },
  LinSpace: (_inputs, { start, stop, num }) => {
    const [from, to, count] = [Number(start), Number(stop), Number(num)];
    return numbers(Array.from({ length: count }, (_, at) => from + (at * (to - from)) / Math.max(count - 1, 1)), "float32");
  },
};
