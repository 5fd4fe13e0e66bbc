/** Cases of shared/tensor/kernels/indexing.ts. */
import * as tf from "../../../shared/models/tfjs.ts";
import { bool, float, int } from "../support/both.ts";
import { special, type Case, type Cases } from "../support/case.ts";

const counted = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

const gathers: Case[] = (
  [
    [[5], [3], 0],
    [[5], [], 0],
    [[5, 2], [3], 0],
    [[5, 2], [2, 2], 0],
    [[3, 5], [4], 1],
    [[3, 5, 2], [2, 2], -2],
    [[2, 2, 5, 2], [3], 2],
    [[5, 2], [0], 0],
    [[5, 0], [2], 0],
  ] as const
).flatMap(([shape, indexShape, axis]) =>
  [float(shape, special), int(shape, counted), bool(shape)].map((spec): Case => ({ name: `${spec.dtype} [${shape.join(",")}] at [${indexShape.join(",")}] along ${axis}`, inputs: [spec, int(indexShape, [4, 0, 2, 2])], call: (x, indices) => tf.gather(x, tf.cast(indices, "int32"), axis) })),
);

/** Shape, shape of the indices, axis, batch axes. */
const batched: Case[] = (
  [
    [[2, 5], [2, 3], 1, 1],
    [[2, 5, 3], [2, 2], 1, 1],
    [[2, 3, 5], [2, 4], 2, 1],
    [[2, 3, 5, 2], [2, 3, 4], 2, 2],
    [[2, 2, 3, 5], [2, 2, 2, 2], 3, 2],
    [[2, 5], [2, 3], 1, -1],
  ] as const
).flatMap(([shape, indexShape, axis, batchDims]) =>
  [float(shape, special), int(shape, counted)].map((spec): Case => ({ name: `${spec.dtype} [${shape.join(",")}] at [${indexShape.join(",")}] along ${axis}, ${batchDims} batch axes`, inputs: [spec, int(indexShape, [4, 0, 2, 2, 1])], call: (x, indices) => tf.gather(x, indices, axis, batchDims) })),
);

const hot: Case[] = ([[3], [2, 3], [], [0]] as const).flatMap((shape) =>
  ([[1, 0, "float32"], [1, 0, "int32"], [2.5, -1, "float32"], [1, 0, "bool"], [0, 1, "bool"]] as const).map(([on, off, dtype]): Case => ({ name: `[${shape.join(",")}] ${on}/${off} ${dtype}`, inputs: [int(shape, [1, 4, 0, -1, 7])], call: (indices) => tf.oneHot(indices, 5, on, off, dtype) })),
);

export const indexing: Cases = {
  GatherV2: [...gathers, ...batched],
  GatherNd: [
    { name: "elements", inputs: [float([2, 3], special), int([4, 2], [0, 1, 1, 2, 0, 0, 1, 0])], call: (x, indices) => tf.gatherND(x, indices) },
    { name: "rows", inputs: [float([3, 2], special), int([2, 1], [2, 0])], call: (x, indices) => tf.gatherND(x, indices) },
    { name: "integers", inputs: [int([2, 2, 2], counted), int([2, 2], [0, 1, 1, 0])], call: (x, indices) => tf.gatherND(x, indices) },
    { name: "a grid of indices", inputs: [float([3, 2], counted), int([2, 2, 1], [2, 0, 1, 1])], call: (x, indices) => tf.gatherND(x, indices) },
  ],
  ScatterNd: [
    { name: "elements", inputs: [int([3, 1], [4, 1, 2]), float([3], [1.5, -2, 3])], call: (indices, updates) => tf.scatterND(indices, updates, [6]) },
    { name: "equal indices add up", inputs: [int([4, 1], [1, 1, 1, 0]), float([4], [1, 2, 4, 8])], call: (indices, updates) => tf.scatterND(indices, updates, [3]) },
    { name: "rows", inputs: [int([3, 1], [2, 0, 2]), float([3, 2], counted)], call: (indices, updates) => tf.scatterND(indices, updates, [3, 2]) },
    { name: "pairs of indices", inputs: [int([3, 2], [0, 1, 1, 0, 0, 1]), int([3], [5, 6, 7])], call: (indices, updates) => tf.scatterND(indices, updates, [2, 2]) },
  ],
  UnsortedSegmentSum: (
    [
      [[4], [0, 1, 0, 2]],
      [[4, 3], [2, 2, 0, 1]],
      [[5, 2], [0, -1, 1, -1, 0]],
      [[4, 2, 2], [1, 1, 1, 1]],
    ] as const
  ).map(([shape, ids]): Case => ({ name: `[${shape.join(",")}] by ${ids.join(" ")}`, inputs: [float(shape, counted), int([ids.length], ids)], call: (x, segments) => tf.unsortedSegmentSum(x, segments as tf.Tensor1D, 3) })),
  OneHot: hot,
};
