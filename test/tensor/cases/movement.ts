/** Cases of shared/tensor/kernels/movement.ts: nothing is computed, so every bit must be the same. */
import { engine } from "@tensorflow/tfjs-core";
import * as tf from "../../../shared/models/tfjs.ts";
import { bool, float, int, type Call, type Spec } from "../support/both.ts";
import { special, type Case, type Cases } from "../support/case.ts";

const name = (spec: Spec) => `${spec.dtype} [${spec.shape.join(",")}]`;
const cases = (rows: readonly (readonly [readonly number[], Call, string?])[]): Case[] =>
  rows.flatMap(([shape, call, what]) => [float(shape, special), int(shape, [1, 2, 3, 4, 5, 6, 7]), bool(shape)].map((spec): Case => ({ name: `${name(spec)} ${what ?? ""}`, inputs: [spec], call })));

const strided = (begin: number[], end: number[], strides: number[], masks: number[] = []): Call => (x) => tf.stridedSlice(x, begin, end, strides, ...masks);

const joins: readonly (readonly [readonly (readonly number[])[], number])[] = [
  [[[2], [3]], 0],
  [[[2, 3], [1, 3]], 0],
  [[[2, 3], [2, 1]], -1],
  [[[2, 3, 2], [2, 1, 2], [2, 2, 2]], 1],
  [[[0, 3], [2, 3]], 0],
  [[[2, 3], [0, 3]], 0],
  [[[0], [0]], 0],
  [[[2, 0], [2, 0]], 1],
];
const stacks: readonly (readonly [readonly number[], number])[] = [[[], 0], [[3], 0], [[3], 1], [[3], -1], [[2, 3], 1], [[2, 3], -2], [[2, 1, 3], 3], [[0], 0]];

export const movement: Cases = {
  Reshape: cases([
    [[6], (x) => tf.reshape(x, [2, 3])],
    [[2, 3], (x) => tf.reshape(x, [-1])],
    [[2, 3], (x) => tf.reshape(x, [3, -1, 1])],
    [[1], (x) => tf.reshape(x, [])],
    [[], (x) => tf.reshape(x, [1, 1])],
    [[2, 3, 4], (x) => tf.reshape(tf.reshape(x, [6, 4]), [2, 3, 4]), "there and back"],
    [[2, 0, 3], (x) => tf.reshape(x, [0, 5])],
    [[2, 3, 1, 2, 1], (x) => tf.reshape(x, [12])],
  ]),
  ExpandDims: cases([
    [[], (x) => tf.expandDims(x)],
    [[3], (x) => tf.expandDims(x, 1)],
    [[3], (x) => tf.expandDims(x, -1)],
    [[2, 3], (x) => tf.expandDims(x, -3)],
    [[2, 0], (x) => tf.expandDims(x, 1)],
  ]),
  Transpose: cases([
    [[2, 3], (x) => tf.transpose(x)],
    [[2, 3, 4], (x) => tf.transpose(x, [1, 2, 0])],
    [[2, 3, 4], (x) => tf.transpose(tf.transpose(x, [1, 2, 0]), [2, 0, 1]), "there and back"],
    [[2, 3, 4], (x) => tf.transpose(tf.transpose(x, [1, 2, 0]), [1, 0, 2]), "twice"],
    [[2, 1, 3, 2], (x) => tf.transpose(x, [0, 2, 1, 3])],
    [[2, 1, 3, 2, 2], (x) => tf.transpose(x, [4, 3, 2, 1, 0])],
    [[2, 0], (x) => tf.transpose(x)],
  ]),
  Slice: cases([
    [[7], (x) => tf.slice(x, [2], [3])],
    [[7], (x) => tf.slice(x, [2], [-1])],
    [[7], (x) => tf.slice(x, [0], [7]), "all"],
    [[7], (x) => tf.slice(x, [3], [0]), "nothing"],
    [[3, 4], (x) => tf.slice(x, [1, 1], [2, 2])],
    [[3, 4], (x) => tf.slice(x, [0, 1], [3, -1])],
    [[2, 3, 4], (x) => tf.slice(x, 1)],
    [[2, 2, 3, 2, 2], (x) => tf.slice(x, [1, 0, 1, 0, 1], [1, 2, 1, 2, 1])],
  ]),
  StridedSlice: cases([
    [[7], strided([0], [7], [2])],
    [[7], strided([6], [0], [-2])],
    [[7], strided([-1], [-8], [-1]), "backwards"],
    [[7], strided([0], [0], [-1], [1, 1]), "backwards, both masks"],
    [[7], strided([-3], [-1], [1])],
    [[3, 4], strided([0, 1], [3, 4], [2, 2])],
    [[3, 4], strided([1, 3], [2, 0], [1, -1])],
    [[3, 4], strided([0, 1], [0, 3], [1, 1], [1, 1]), "masks"],
    [[3, 4], strided([1, 0], [2, 4], [1, 1], [0, 0, 0, 0, 1]), "an axis taken away"],
    [[2, 3, 4], strided([0, 1], [2, 3], [1, 1], [0, 0, 1]), "ellipsis"],
    [[3], strided([0, 0], [1, 3], [1, 1], [0, 0, 0, 1]), "an axis put in"],
    [[5], strided([0], [5], [1]), "all"],
  ]),
  Concat: joins.flatMap(([shapes, axis]): Case[] => [
    { name: `${JSON.stringify(shapes)} along ${axis}`, inputs: shapes.map((shape, at) => float(shape, [at, 0.5, NaN])), call: (...parts) => tf.concat(parts, axis) },
    { name: `integers ${JSON.stringify(shapes)} along ${axis}`, inputs: shapes.map((shape, at) => int(shape, [at, 9])), call: (...parts) => tf.concat(parts, axis) },
    { name: `booleans ${JSON.stringify(shapes)} along ${axis}`, inputs: shapes.map((shape) => bool(shape)), call: (...parts) => tf.concat(parts, axis) },
  ]),
  Pack: stacks.map(([shape, axis]): Case => ({ name: `[${shape.join(",")}] at ${axis}`, inputs: [float(shape, [1, 2]), float(shape, [3]), float(shape, [4, 5, 6])], call: (...parts) => tf.stack(parts, axis) })),
  Unpack: cases([
    [[3], (x) => tf.unstack(x)],
    [[3, 2], (x) => tf.unstack(x)],
    [[3, 2], (x) => tf.unstack(x, 1)],
    [[2, 3, 2], (x) => tf.unstack(x, -2)],
    [[1, 4], (x) => tf.unstack(x)],
  ]),
  SplitV: cases([
    [[6], (x) => tf.split(x, 3)],
    [[6], (x) => tf.split(x, [1, 2, 3])],
    [[6], (x) => tf.split(x, [1, -1, 3]), "the rest"],
    [[2, 6], (x) => tf.split(x, 2, 1)],
    [[2, 6], (x) => tf.split(x, [4, 0, 2], -1), "one empty"],
    [[2, 6], (x) => tf.split(x, 1, -1), "in one"],
    [[2, 4, 3], (x) => tf.split(x, [1, 3], 1)],
  ]),
  PadV2: cases([
    [[3], (x) => tf.pad(x, [[1, 2]])],
    [[3], (x) => tf.pad(x, [[0, 0]], 1), "nothing"],
    [[2, 3], (x) => tf.pad(x, [[1, 0], [0, 2]], 1)],
    [[2, 1, 2], (x) => tf.pad(x, [[0, 1], [2, 0], [1, 1]])],
    [[0, 2], (x) => tf.pad(x, [[1, 1], [0, 0]], 1)],
  ]),
  Tile: cases([
    [[3], (x) => tf.tile(x, [2])],
    [[3], (x) => tf.tile(x, [1]), "once"],
    [[1, 3], (x) => tf.tile(x, [4, 1])],
    [[2, 3], (x) => tf.tile(x, [2, 3])],
    [[2, 1, 2], (x) => tf.tile(x, [1, 3, 2])],
    [[1, 3], (x) => tf.broadcastTo(x, [2, 2, 3]), "broadcast"],
    [[], (x) => tf.broadcastTo(x, [2, 3]), "broadcast a scalar"],
    [[3], (x) => tf.tile(x, [0]), "never"],
  ]),
  Reverse: cases([
    [[5], (x) => tf.reverse(x)],
    [[2, 3], (x) => tf.reverse(x, 1)],
    [[2, 3], (x) => tf.reverse(x)],
    [[2, 3, 2], (x) => tf.reverse(x, [-1, 0])],
    [[1, 3], (x) => tf.reverse(x, 0)],
    [[0, 3], (x) => tf.reverse(x, 1)],
  ]),
  Range: (
    [
      [0, 5, 1],
      [0, 5, 2],
      [5, 0, -2],
      [5, 0, 1],
      [0, 1, 0.25],
      [3, 3, 1],
      [-2, 2, 1],
    ] as const
  ).flatMap(([from, to, by]) => (["float32", "int32"] as const).filter((dtype) => dtype === "float32" || Number.isInteger(by)).map((dtype): Case => ({ name: `${from} to ${to} by ${by} ${dtype}`, inputs: [], call: () => tf.range(from, to, by, dtype) }))),
  LinSpace: (
    [
      [0, 1, 5],
      [1, -1, 3],
      [2, 2, 4],
      [3, 9, 1],
      [0, 0.1, 7],
    ] as const
  ).map(([from, to, count]): Case => ({ name: `${from} to ${to} in ${count}`, inputs: [], call: () => engine().runKernel<tf.Tensor>("LinSpace", {}, { start: from, stop: to, num: count }), tolerance: 1e-7 })),
};
