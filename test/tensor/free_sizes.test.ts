/** Functions compiled once for all sizes: they give what the same function gives compiled for the size, and what would depend on a size is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as tf from "../../shared/models/tfjs.ts";
import { registerOnnxBackend } from "../../shared/tensor/backend.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";

const backend = registerOnnxBackend({ provider: "cpu", threads: 1 });
type Build = (...inputs: tf.Tensor[]) => readonly tf.Tensor[];
const float = (...shape: number[]): InputSpec => ({ shape, dtype: "float32" });
const values = (shape: readonly number[]) => Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, (_, at) => Math.sin(at * 1.7 + shape.length));

/** Runs `build` at sizes that it was not traced with, open and closed. */
async function same(what: string, specsOf: (n: number, m: number) => InputSpec[], build: Build): Promise<void> {
  const open = await compile(backend, specsOf(101, 103), build, specsOf(107, 109));
  for (const [n, m] of [[1, 1], [2, 5], [9, 3], [101, 103]] as const) {
    const specs = specsOf(n, m);
    const inputs = specs.map(({ shape }) => values(shape));
    const closed = await compile(backend, specs, build);
    const [ours, expected] = [await open.run(specs.map(({ shape }, at) => ({ values: inputs[at] ?? new Float32Array(0), shape }))), await closed.run(inputs)];
    expected.forEach((array, output) => {
      assert.equal(ours[output]?.length, array.length, `${what}, ${n} and ${m}: output ${output}`);
      array.forEach((value, at) => assert.ok(Math.abs(Number(value) - Number(ours[output]?.[at])) < 1e-5, `${what}, ${n} and ${m}: output ${output}, element ${at}`));
    });
    await closed.close();
  }
  await open.close();
}

test("reshapes, transposes, joins, cuts, masks and softmax follow sizes that are free", async () => {
  await same("heads", (n) => [float(n, 12)], (x) => [tf.reshape(tf.transpose(tf.reshape(x, [-1, 3, 4]), [1, 0, 2]), [3, -1])]);
  await same("cuts at a free size", (n, m) => [float(n, 4), float(m, 4)], (x, y) => {
    const joined = tf.concat([x as tf.Tensor2D, y as tf.Tensor2D], 0);
    const [a, b] = tf.split(joined, [x?.shape[0] ?? 0, y?.shape[0] ?? 0], 0);
    return [tf.mul(a as tf.Tensor, 2), tf.sub(b as tf.Tensor, 1)];
  });
  await same("a mask of zeros and forbidding numbers", (n, m) => [float(n, m)], (x) => {
    const shape = (x).shape;
    return [tf.softmax(tf.add(x, tf.where(tf.greater(x, 0), tf.zeros(shape), tf.fill(shape, -1e9))))];
  });
  await same("sides of one put in and taken out", (n, m) => [float(n, m)], (x) => [tf.squeeze(tf.mul(tf.expandDims(x, 1), 3), [1])]);
  await same("products", (n, m) => [float(n, 6), float(m, 6)], (x, y) => [tf.matMul(x, y, false, true)]);
});

test("what depends on a free size is refused, and says where", async () => {
  const refused = (message: RegExp, build: Build) => assert.rejects(compile(backend, [float(101, 4)], build, [float(107, 4)]), (error) => error instanceof RangeError && message.test(error.message), String(message));
  await refused(/a constant of shape .* depends on a free size/, (x) => [tf.add(x, tf.tensor2d(values([(x).shape[0] ?? 0, 1]), [(x).shape[0] ?? 0, 1]))]);
  await refused(/in one trace is .* in the other|attributes|depends on a free size/, (x) => [(x?.shape[0] ?? 0) > 105 ? tf.exp(x) : tf.sin(x)]);
  await refused(/depends on a free size|a number depends/, (x) => [tf.mul(x, x?.shape[0] ?? 0)]);
  await refused(/bounds that follow/, (x) => [tf.slice(x as tf.Tensor2D, [0, 0], [Math.floor((x?.shape[0] ?? 0) / 2), 4])]);
});

test("shapes that the function does not take are refused before anything is read", async () => {
  const open = await compile(backend, [float(101, 4)], (x) => [tf.exp(x)], [float(107, 4)]);
  await assert.rejects(open.run([{ values: new Float32Array(10), shape: [2, 5] }]), { name: "RangeError", message: /shape \[2,5\].*\[-1,4\]/ });
  await assert.rejects(open.run([{ values: new Float32Array(9), shape: [2, 4] }]), RangeError);
  await assert.rejects(open.run([new Float32Array(8)]), RangeError);
  assert.equal((await open.run([{ values: new Float32Array(8), shape: [2, 4] }]))[0]?.length, 8);
  await open.close();
});
