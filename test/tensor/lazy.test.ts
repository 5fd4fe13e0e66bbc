/** Lazy execution: what is recorded, when it is computed, and that graphs, sessions and memory are bounded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../../shared/models/gradients.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { backend } from "./support/both.ts";
import { fit, fitCases } from "./support/fit.ts";

const opened = () => backend.lazy.opened;

for (const [name, model] of Object.entries(fitCases)) {
  test(`model.fit: ${name}`, async () => {
    await tf.setBackend("cpu");
    const expected = await fit(model);
    await tf.setBackend("onnx");
    const before = [tf.memory().numTensors, backend.numDataIds()];
    const sessions: { epoch: number; batch: number; count: number }[] = [];
    const actual = await fit(model, (epoch, batch) => sessions.push({ epoch, batch, count: opened() }));
    assert.equal(actual.losses.length, 8);
    actual.losses.forEach((loss, at) => assert.ok(Math.abs(loss - (expected.losses[at] ?? NaN)) < 1e-4, `loss ${at}: ${loss}, tfjs's CPU backend has ${expected.losses[at]}`));
    assert.deepEqual(actual.accuracies.map((value) => value.toFixed(4)), expected.accuracies.map((value) => value.toFixed(4)));
    // The first epoch meets every structure but one: the second's first batch, with which the first epoch's means are computed.
    const counts = sessions.filter(({ epoch, batch }) => epoch > 1 || (epoch === 1 && batch > 0)).map(({ count }) => count);
    assert.equal(counts.length, 11);
    assert.equal(new Set(counts).size, 1, `sessions after each batch: ${sessions.map(({ count }) => count).join(" ")}`);
    // Adam keeps its moments until it is disposed of: tfjs's own, and as many on every backend.
    assert.ok(tf.memory().numTensors - (before[0] ?? 0) <= 26);
  });
}

test("a number that changes with each step makes no new graph", async () => {
  await tf.setBackend("onnx");
  const x = tf.tensor1d([1, 2, 3]);
  const step = async (rate: number) => {
    const y = tf.tidy(() => tf.add(tf.mul(tf.exp(x), rate), tf.add(tf.scalar(rate), tf.fill([3], rate + 1))));
    const values = await y.data();
    y.dispose();
    return values;
  };
  await step(0.5);
  const before = opened();
  for (const rate of [0.25, 7, -1, NaN, 1e9]) {
    const values = await step(rate);
    [1, 2, 3].forEach((value, at) => assert.ok(Object.is(values[at], NaN) ? Number.isNaN(rate) : Math.abs((values[at] ?? NaN) / (Math.exp(value) * rate + 2 * rate + 1) - 1) < 1e-5, `${rate}: ${values[at]}`));
  }
  assert.equal(opened(), before);
  x.dispose();
});

test("nothing is computed before it is read, and what nobody reads never is", async () => {
  await tf.setBackend("onnx");
  const before = opened();
  const y = tf.tidy(() => tf.sqrt(tf.tensor1d([1, 4, 9, 16, 25, 36, 49])));
  tf.tidy(() => void tf.cos(y));
  await Promise.resolve();
  assert.equal(opened(), before);
  assert.deepEqual(y.dataSync(), Float32Array.of(1, 2, 3, 4, 5, 6, 7));
  assert.equal(opened(), before + 1);
  y.dispose();
});

test("a read computes what is alive with it, once", async () => {
  await tf.setBackend("onnx");
  const [a, b] = tf.tidy((): [tf.Tensor, tf.Tensor] => {
    const shared = tf.exp(tf.tensor1d([0, 1, 0, 1, 0]));
    return [tf.add(shared, 1), tf.mul(shared, 2)];
  });
  const before = opened();
  assert.deepEqual(Array.from(a.dataSync(), Math.round), [2, 4, 2, 4, 2]);
  assert.deepEqual(Array.from(b.dataSync(), Math.round), [2, 5, 2, 5, 2]);
  assert.equal(opened(), before + 1);
  tf.dispose([a, b]);
});

test("a tensor that cannot be computed fails when it is read, and no other", async () => {
  await tf.setBackend("onnx");
  const bad = tf.tidy(() => tf.gather(tf.tensor1d([1, 2, 3]), tf.add<tf.Tensor1D>(tf.tensor1d([1, 2, 3], "int32"), tf.scalar(40, "int32"))));
  const good = tf.tidy(() => tf.neg(tf.tensor1d([1, 2, 3, 4])));
  assert.deepEqual(await good.data(), Float32Array.of(-1, -2, -3, -4));
  await assert.rejects(bad.data(), /indices element out of data bounds/);
  assert.throws(() => bad.dataSync(), /indices element out of data bounds/);
  tf.dispose([bad, good]);
});

test("a long chain without a read is cut, and computes the same", async () => {
  await tf.setBackend("onnx");
  const before = opened();
  let x: tf.Tensor = tf.zeros([3]);
  for (let at = 0; at < 10_000; at++) {
    const next = tf.add(x, at % 7);
    x.dispose();
    x = next;
  }
  assert.deepEqual(x.dataSync(), Float32Array.of(29_994, 29_994, 29_994));
  // One for the beginning, one for the chain that is cut again and again, one for what is left.
  assert.ok(opened() - before <= 3, `${opened() - before} sessions`);
  x.dispose();
});

test("training in a loop that never waits compiles a few graphs, however long it runs", async () => {
  const train = async (name: string) => {
    await tf.setBackend(name);
    const w = tf.variable(tf.tensor2d([0.5, -1, 2, 0.25], [4, 1]));
    const [x, y] = [tf.tensor2d(Float32Array.from({ length: 32 }, (_, at) => Math.sin(at * at)), [8, 4]), tf.ones([8, 1])];
    const optimizer = tf.train.adam(0.05);
    const counts: number[] = [];
    for (let step = 0; step < 400; step++) {
      optimizer.minimize(() => tf.mean(tf.squaredDifference(tf.matMul(x, w as tf.Tensor2D), y)));
      counts.push(opened());
    }
    const values = [...w.dataSync()];
    optimizer.dispose();
    tf.dispose([w, x, y]);
    return { values, counts };
  };
  const [expected, actual] = [await train("cpu"), await train("onnx")];
  actual.values.forEach((value, at) => assert.ok(Math.abs(value - (expected.values[at] ?? NaN)) < 1e-4, `${value} and ${expected.values[at]}`));
  assert.equal(actual.counts.at(-1), actual.counts[200], "graphs of later steps are new ones");
});

test("what is written and never read is not held without end", async () => {
  await tf.setBackend("onnx");
  const values = new Float32Array(1_000_000).fill(0.5);
  const before = opened();
  let sum: tf.Tensor = tf.scalar(0);
  for (let at = 0; at < 80; at++) {
    const next = tf.tidy(() => tf.add(sum, tf.mean(tf.tensor1d(values))));
    sum.dispose();
    sum = next;
  }
  assert.equal(opened(), before + 1, "320 MB were handed over: they are computed on the way");
  assert.deepEqual(sum.dataSync(), Float32Array.of(40));
  sum.dispose();
});

test("shapes without end keep a bounded number of sessions open", async () => {
  await tf.setBackend("onnx");
  for (let side = 1; side <= 300; side++) tf.tidy(() => tf.log(tf.fill([side], 2)).dataSync());
  assert.ok(backend.lazy.sessions <= 256, `${backend.lazy.sessions}`);
});

test("a kernel without a rule runs on tfjs's CPU backend, within a lazy graph", async () => {
  await tf.setBackend("onnx");
  const before = backend.handedOver.get("Unique") ?? 0;
  const { values, indices } = tf.unique(tf.add(tf.tensor1d([1, 5, 1, 7], "int32"), tf.tensor1d([1, 1, 1, 1], "int32")));
  assert.deepEqual(tf.mul(values, tf.scalar(2, "int32")).dataSync(), Int32Array.of(4, 12, 16));
  assert.deepEqual(await indices.data(), Int32Array.of(0, 1, 0, 2));
  assert.equal(backend.handedOver.get("Unique"), before + 1);
});

test("strings and complex numbers live beside the graph", async () => {
  await tf.setBackend("onnx");
  const words = tf.tensor(["a", "b", "c", "d"], [2, 2]);
  assert.deepEqual(await tf.concat([tf.reshape(words, [4]), tf.tensor1d(["e"])]).array(), ["a", "b", "c", "d", "e"]);
  const z = tf.complex(tf.add(tf.tensor1d([1, 2]), 1), tf.tensor1d([0, -1]));
  assert.deepEqual(await tf.real(tf.mul(z, z)).data(), Float32Array.of(4, 8));
  assert.deepEqual(await tf.imag(tf.mul(z, z)).data(), Float32Array.of(0, -6));
});
