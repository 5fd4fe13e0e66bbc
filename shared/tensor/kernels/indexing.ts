/** Gathers, scatters and one-hot rows. */
import { backend_util, gather_util, scatter_util, util, type DataType } from "@tensorflow/tfjs-core";
import { binary, cast, fill, node, reshape, scalar, sizeOf, transpose, type Node, type Shape } from "../graph.ts";
import { numbers, shaped, slice } from "./movement.ts";
import { axesOf, input, toDType, type Rules } from "./rule.ts";

/** Rows of `updates` added at `indices` into zeros of `shape`; equal indices add up. */
function scatterAdd(indices: Node, updates: Node, shape: Shape): Node {
  return node("ScatterND", [fill(shape, updates.dtype, 0), cast(indices, "int64"), updates], shape, updates.dtype, { attributes: { reduction: { string: "add" } } });
}

/** tfjs refuses a wrong index at once. So far as indices are known already, so do we; others fail when they are computed. */
function demandInside({ source }: Node, side: number): void {
  if (source?.kind !== "data") return;
  const wrong = (source.values as Int32Array).find((index) => index < 0 || index >= side);
  util.assert(wrong === undefined, () => `GatherV2: the index value ${wrong} is not in [0, ${side - 1}]`);
}

export const indexing: Rules = {
  GatherV2: (inputs, { axis, batchDims }, strict) => {
    const [value, indices] = [input(inputs, "x"), input(inputs, "indices")];
    const [at = 0] = axesOf(axis, value.shape);
    if (strict) demandInside(indices, value.shape[at] ?? 0);
    const { batchSize, outerSize, dimSize, sliceSize, outputShape } = backend_util.segment_util.collectGatherOpShapeInfo(shaped(value), shaped(indices), at, Number(batchDims ?? 0));
    if (Number(batchDims ?? 0) === 0) return node("Gather", [value, indices], outputShape, value.dtype, { attributes: { axis: { int: at } } });
    // One gather from all batches' rows, one after the other.
    const rows = reshape(transpose(reshape(value, [batchSize, outerSize, dimSize, sliceSize]), [0, 2, 1, 3]), [batchSize * dimSize, outerSize * sliceSize]);
    const own = numbers(Array.from({ length: batchSize }, (_, batch) => batch * dimSize), "int32");
    const count = sizeOf(indices.shape) / batchSize;
    const shifted = binary("Add", reshape(indices, [batchSize, count]), reshape(own, [batchSize, 1]), [batchSize, count], "int32");
    const taken = node("Gather", [rows, shifted], [batchSize, count, outerSize * sliceSize], value.dtype, { attributes: { axis: { int: 0 } } });
    return reshape(transpose(reshape(taken, [batchSize, count, outerSize, sliceSize]), [0, 2, 1, 3]), outputShape);
  },
  GatherNd: (inputs) => {
    const [params, indices] = [input(inputs, "params"), input(inputs, "indices")];
    const [outputShape] = gather_util.prepareAndValidate(shaped(params), shaped(indices));
    return node("GatherND", [params, cast(indices, "int64")], outputShape, params.dtype);
  },
  ScatterNd: (inputs, attributes) => {
    const [indices, updates, shape] = [input(inputs, "indices"), input(inputs, "updates"), attributes["shape"] as number[]];
    const { sliceRank, numUpdates } = scatter_util.calculateShapes(shaped(updates), shaped(indices), shape);
    return scatterAdd(reshape(indices, [numUpdates, sliceRank]), reshape(updates, [numUpdates, ...shape.slice(sliceRank)]), shape);
  },
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
