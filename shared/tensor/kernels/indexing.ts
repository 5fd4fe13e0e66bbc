/** Gathers, scatters and one-hot rows. */
import type { DataType } from "@tensorflow/tfjs-core";
import { binary, cast, fill, node, reshape, scalar, type Node, type Shape } from "../graph.ts";
import { numbers, slice } from "./movement.ts";
import { axesOf, input, toDType, type Rules } from "./rule.ts";

/** Rows of `updates` added at `indices` into zeros of `shape`; equal indices add up. */
function scatterAdd(indices: Node, updates: Node, shape: Shape): Node {
  return node("ScatterND", [fill(shape, updates.dtype, 0), cast(indices, "int64"), updates], shape, updates.dtype, { attributes: { reduction: { string: "add" } } });
}

export const indexing: Rules = {
  GatherV2: (inputs, { axis, batchDims }) => {
    const [value, indices] = [input(inputs, "x"), input(inputs, "indices")];
    const [at = 0] = axesOf(axis, value.shape);
    if (Number(batchDims ?? 0) > 0) throw new TypeError("gather with batchDims is not recorded by this backend");
    return node("Gather", [value, indices], [...value.shape.slice(0, at), ...indices.shape, ...value.shape.slice(at + 1)], value.dtype, { attributes: { axis: { int: at } } });
  },
  GatherNd: (inputs) => {
    const [params, indices] = [input(inputs, "params"), input(inputs, "indices")];
    return node("GatherND", [params, cast(indices, "int64")], [...indices.shape.slice(0, -1), ...params.shape.slice(indices.shape.at(-1) ?? 0)], params.dtype);
  },
  ScatterNd: (inputs, { shape }) => scatterAdd(input(inputs, "indices"), input(inputs, "updates"), shape as number[]),
  // A negative segment means "nowhere" in tfjs and "from the back" in ONNX: it goes into one row more, which is cut off.
  UnsortedSegmentSum: (inputs, { numSegments }) => {
    const [value, ids] = [input(inputs, "x"), input(inputs, "segmentIds")];
    const count = Number(numSegments);
    const placed = node("Where", [binary("Less", ids, scalar(0, "int32"), ids.shape, "bool"), scalar(count, "int32"), ids], ids.shape, "int32");
    const rest = value.shape.slice(ids.shape.length);
    const sums = scatterAdd(reshape(placed, [...ids.shape, 1]), value, [count + 1, ...rest]);
    return slice(sums, [0, ...rest.map(() => 0)], [count, ...rest]);
  },
  // Not ONNX's OneHot: that one reads negative indices from the back.
  OneHot: (inputs, { dtype, depth, onValue, offValue }) => {
    const indices = input(inputs, "indices");
    const shape = [...indices.shape, Number(depth)];
    const type = toDType((dtype ?? "int32") as DataType);
    const classes = numbers(Array.from({ length: Number(depth) }, (_, at) => at), "int32");
    const hit = node("Equal", [reshape(indices, [...indices.shape, 1]), classes], shape, "bool");
    if (onValue === 1 && offValue === 0) return cast(hit, type);
    const number = type === "bool" ? "int32" : type; // ONNX Runtime chooses among numbers only
    return cast(node("Where", [hit, scalar(Number(onValue), number), scalar(Number(offValue), number)], shape, number), type);
  },
};
