/** Cases of shared/tensor/kernels/reduce.ts. */
import * as tf from "../../../shared/models/tfjs.ts";
import { bool, float, int, type Call, type Closeness, type Spec } from "../support/both.ts";
import { type Case, type Cases } from "../support/case.ts";

const close = { tolerance: 2e-6 };
const plain = [1, -2, 0.5, 3, -0.25, 4, 7, -1, 0, 2.5, -6, 0.125];
type Fold = (x: tf.Tensor, axis?: number | number[], keepDims?: boolean) => tf.Tensor;

/** Shape and the axes to fold; undefined = all. */
const folds: readonly (readonly [readonly number[], number | number[] | undefined])[] = [
  [[], undefined],
  [[5], undefined],
  [[5], 0],
  [[2, 3], undefined],
  [[2, 3], 0],
  [[2, 3], -1],
  [[2, 3], [0, 1]],
  [[2, 3, 4], [0, 2]],
  [[2, 3, 4], [-1, 0]],
  [[2, 3, 4], 1],
  [[2, 1, 4], 1],
  [[1, 1], undefined],
  [[2, 1, 3, 2, 2], [1, 3]],
  [[2, 3, 2, 2], [2, 1, 0]],
];
const emptyFolds: typeof folds = [
  [[0], 0],
  [[2, 0, 3], 1],
  [[2, 0, 3], 0],
  [[0, 2], undefined],
];

function folded(fold: Fold, specs: (shape: readonly number[]) => Spec[], over: typeof folds, closeness: Closeness = {}): Case[] {
  return over.flatMap(([shape, axis]) =>
    specs(shape).flatMap((spec) =>
      [false, true].map((keepDims): Case => ({ ...closeness, name: `${spec.dtype} [${shape.join(",")}] over ${JSON.stringify(axis ?? "all")}${keepDims ? ", kept" : ""}`, inputs: [spec], call: (x) => fold(x, axis, keepDims) })),
    ),
  );
}

const numbers = (shape: readonly number[]) => [float(shape, plain), int(shape, [1, -2, 3, 0, 5])];
const everything = (shape: readonly number[]) => [...numbers(shape), float(shape, [2.5]), float(shape, [-1, Infinity, 2, -Infinity])];
const withBools = (shape: readonly number[]) => [...everything(shape), float(shape, [...plain, NaN]), bool(shape)];
const justBools = (shape: readonly number[]) => [bool(shape), bool(shape, [0]), bool(shape, [1])];

const positions = (call: (x: tf.Tensor, axis: number) => tf.Tensor): Case[] =>
  ([[[5], 0], [[2, 3], 0], [[2, 3], -1], [[2, 3, 4], 1], [[2, 1, 4], 1], [[2, 2, 1, 3, 2], 3]] as const).flatMap(([shape, axis]) =>
    [float(shape, plain), float(shape, [1, 1, 0]), int(shape, [3, 3, 1, 7, -2]), float(shape, [-Infinity, 2, Infinity])].map((spec): Case => ({ name: `${spec.dtype} [${shape.join(",")}] along ${axis}`, inputs: [spec], call: (x) => call(x, axis) })),
  );

const softmaxes: Case[] = ([[5], [2, 3], [2, 3, 4], [2, 2, 1, 3, 2], [1], [2, 0], [0, 3]] as const).flatMap((shape) =>
  [float(shape, plain), float(shape, [1000, -1000, 999])].map((spec): Case => ({ ...close, name: `${spec.dtype} [${shape.join(",")}]`, inputs: [spec], call: (x) => tf.softmax(x) })),
);

const cumulative = (call: (x: tf.Tensor, axis: number, exclusive: boolean, reverse: boolean) => tf.Tensor): Case[] => ([[[5], 0], [[2, 3], 0], [[2, 3], 1], [[2, 3, 4], 1], [[2, 1, 4], 1], [[0], 0]] as const).flatMap(([shape, axis]) =>
  numbers(shape).flatMap((spec) =>
    ([[false, false], [true, false], [false, true], [true, true]] as const).map(([exclusive, reverse]): Case => ({
      ...close,
      name: `${spec.dtype} [${shape.join(",")}] along ${axis}${exclusive ? " exclusive" : ""}${reverse ? " reverse" : ""}`,
      inputs: [spec],
      call: (x) => call(x, axis, exclusive, reverse),
    })),
  ),
);

const top = (k: number, sorted = true): Call => (x) => {
  const { values, indices } = tf.topk(x, k, sorted);
  return [values, indices];
};

export const reductions: Cases = {
  Sum: [...folded(tf.sum, withBools, folds, close), ...folded(tf.sum, withBools, emptyFolds)],
  Prod: [...folded(tf.prod, withBools, folds, close), ...folded(tf.prod, numbers, emptyFolds)],
  Mean: folded(tf.mean, withBools, folds, close),
  // Without NaN: ONNX leaves open whether a maximum sees it.
  Max: [...folded(tf.max, everything, folds), ...folded(tf.max, numbers, emptyFolds.slice(2, 3))],
  Min: [...folded(tf.min, everything, folds), ...folded(tf.min, numbers, emptyFolds.slice(2, 3))],
  Any: [...folded(tf.any, justBools, folds), ...folded(tf.any, justBools, emptyFolds)],
  // Over nothing tfjs's CPU kernel says false; ours says true (test/tensor/edges.test.ts).
  All: folded(tf.all, justBools, folds),
  ArgMax: positions((x, axis) => tf.argMax(x, axis)),
  ArgMin: positions((x, axis) => tf.argMin(x, axis)),
  Softmax: softmaxes,
  Cumsum: cumulative(tf.cumsum),
  Cumprod: cumulative(tf.cumprod),
  TopK: [
    { name: "a row", inputs: [float([6], plain)], call: top(3) },
    { name: "equal ones, the first first", inputs: [float([6], [1, 3, 3])], call: top(4) },
    { name: "all of them", inputs: [float([2, 4], plain)], call: top(4) },
    { name: "one", inputs: [float([2, 3, 4], plain)], call: top(1) },
    { name: "integers", inputs: [int([2, 5], [5, -1, 7, 7, 0])], call: top(2) },
    { name: "of one", inputs: [float([3, 1], plain)], call: top(1) },
    { name: "infinities", inputs: [float([4], [-Infinity, 2, Infinity, -3])], call: top(4) },
    { name: "none", inputs: [float([2, 3], plain)], call: top(0) },
  ],
};
