/** Cases of shared/tensor/kernels/matmul.ts. */
import * as tf from "../../../shared/models/tfjs.ts";
import { float, int } from "../support/both.ts";
import type { Case, Cases } from "../support/case.ts";

const close = { tolerance: 1e-5 };
const left = [1, -2, 0.5, 3, -0.25, 4, 7, -1, 0, 2.5, -6, 0.125, 9];
const right = [0.5, 2, -1, 0.25, 3, -2, 1];

/** Where each side repeats an axis of the other, tfjs's CPU kernel computes a part only (test/tensor/edges.test.ts). Batch axes of a and b, then rows, inner side, columns. */
const products: readonly (readonly [readonly number[], readonly number[], number, number, number])[] = [
  [[], [], 2, 3, 4],
  [[], [], 1, 5, 1],
  [[2], [2], 3, 2, 4],
  [[2, 3], [2, 3], 2, 4, 1],
  [[1], [4], 2, 3, 2],
];

const every: Case[] = products.flatMap(([batchA, batchB, rows, inner, columns]) =>
  ([[false, false], [true, false], [false, true], [true, true]] as const).map(([turnA, turnB]): Case => {
    const a = [...batchA, ...(turnA ? [inner, rows] : [rows, inner])];
    const b = [...batchB, ...(turnB ? [columns, inner] : [inner, columns])];
    return { ...close, name: `[${a.join(",")}]${turnA ? "ᵀ" : ""} · [${b.join(",")}]${turnB ? "ᵀ" : ""}`, inputs: [float(a, left), float(b, right)], call: (x, y) => tf.matMul(x, y, turnA, turnB) };
  }),
);

export const multiplications: Cases = {
  BatchMatMul: [
    ...every,
    { name: "of a constant", inputs: [float([2, 3], left), float([3, 2], [2])], call: (x) => tf.matMul(x, tf.fill([3, 2], 2)), ...close },
    { name: "NaN and infinities spread", inputs: [float([2, 2], [NaN, 1, 2, 3]), float([2, 2], [1, Infinity, 1, 2])], call: (x, y) => tf.matMul(x, y), ...close },
    { name: "integers, turned", inputs: [int([3, 2], [1, 2, 3]), int([4, 3], [5, -1, 2])], call: (x, y) => tf.matMul(x, y, true, true) },
    { name: "an empty inner side", inputs: [float([2, 0], [1]), float([0, 3], [1])], call: (x, y) => tf.matMul(x, y) },
  ],
  _FusedMatMul: (["linear", "relu", "sigmoid"] as const).flatMap((activation) =>
    [false, true].flatMap((turned): Case[] => [
      { ...close, name: `${activation}, bias${turned ? ", turned" : ""}`, inputs: [float(turned ? [3, 2] : [2, 3], left), float(turned ? [4, 3] : [3, 4], right), float([4], [1, -3, 0.5])], call: (a, b, bias) => tf.fused.matMul({ a, b, bias, activation, transposeA: turned, transposeB: turned }) },
      { ...close, name: `${activation}, no bias${turned ? ", turned" : ""}`, inputs: [float(turned ? [3, 2] : [2, 3], left), float(turned ? [4, 3] : [3, 4], right)], call: (a, b) => tf.fused.matMul({ a, b, activation, transposeA: turned, transposeB: turned }) },
    ]),
  ),
};
