/** Where tfjs's CPU kernel is no reference, because it is at fault or fails: the result is written out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as tf from "../../shared/models/tfjs.ts";
import { assertSame, bool, float, int, onConstants, onInputs, type Call, type Result, type Spec } from "./support/both.ts";

interface Edge {
  readonly name: string;
  readonly inputs: readonly Spec[];
  readonly call: Call;
  readonly result: Result;
}

const edges: readonly Edge[] = [
  { name: "all of nothing is true", inputs: [bool([2, 0])], call: (x) => tf.all(x, 1), result: { shape: [2], dtype: "bool", values: [1, 1] } },
  { name: "a slice whose end lies before its beginning is empty", inputs: [float([5], [1, 2])], call: (x) => tf.stridedSlice(x, [3], [1], [1]), result: { shape: [0], dtype: "float32", values: [] } },
  { name: "integers stay integers in a segment sum", inputs: [int([4], [1, 2, 3, 4]), int([4], [0, 1, 0, -1])], call: (x, ids) => tf.unsortedSegmentSum(x, ids as tf.Tensor1D, 2), result: { shape: [2], dtype: "int32", values: [4, 2] } },
  {
    name: "both sides of a product repeat an axis of the other",
    inputs: [float([2, 1, 1, 2], [1, 2, 3, 4]), float([1, 3, 2, 1], [1, 1, 10, 0, 0, 5])],
    call: (a, b) => tf.matMul(a, b),
    result: { shape: [2, 3, 1, 1], dtype: "float32", values: [3, 10, 10, 7, 30, 20] },
  },
  { name: "a row of the condition chooses among booleans", inputs: [bool([2, 1], [1, 0]), bool([2], [1, 0]), bool([2], [0, 1])], call: (c, a, b) => tf.where(c, a, b), result: { shape: [2, 2], dtype: "bool", values: [1, 0, 0, 1] } },
];

for (const { name, inputs, call, result } of edges) {
  test(name, async () => {
    for (const run of [onInputs, onConstants]) {
      const [actual = []] = await run([{ call, inputs }]);
      assertSame(actual, [result], name);
    }
  });
}

test("0 · x, 0 / x and x · 0 of a constant 0 are zero whatever x is: the algebra that tfjs's gradients need", async () => {
  const inputs = [float([4], [NaN, Infinity, -1, 0])];
  const trials = [(x: tf.Tensor) => tf.mul(x, 0), (x: tf.Tensor) => tf.mul(0, x), (x: tf.Tensor) => tf.div(0, x), (x: tf.Tensor) => tf.mul(x, tf.zeros([2, 4]))].map((call) => ({ call, inputs }));
  const results = await onInputs(trials);
  for (const [result] of results) assert.ok(Array.from(result?.values ?? [1]).every((value) => value === 0));
});

test("what has no rule is refused by name in a compiled function", async () => {
  const inputs = [float([2, 3], [1, 2])];
  await assert.rejects(onInputs([{ inputs, call: (x) => tf.unique(x).values }]), /Unique.*onnx/);
  await assert.rejects(onInputs([{ inputs, call: (x) => tf.cast(x, "complex64") }]), /complex64|Complex/);
});
