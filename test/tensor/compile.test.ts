import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { adamWDefaults } from "../../shared/models/adamw.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { createTrainStep, type Parameter } from "../../shared/engine/step.ts";
import { toLora } from "../../shared/engine/language_model.ts";
import { toBatch } from "../../shared/engine/pack.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { emit } from "../../shared/tensor/emit.ts";
import { toyConfig, toyWeights } from "../support/toy_model.ts";
import { backend } from "./support/both.ts";

const vector: InputSpec = { shape: [3], dtype: "float32" };
const matrix: InputSpec = { shape: [2, 3], dtype: "float32" };

/** The bytes that a function of one vector becomes. */
async function bytesOf(build: (x: tf.Tensor) => tf.Tensor[]): Promise<string> {
  await tf.setBackend("onnx");
  const input = backend.tensorOf({ kind: "input", name: "input_0" }, [3], "float32");
  const outputs = build(input).map((tensor) => backend.nodeOf(tensor));
  return createHash("sha256").update(emit(outputs, [backend.nodeOf(input)]).model).digest("hex");
}

// That two processes make the same bytes is shown in weights.test.ts, where the hash is a file's name.
test("the same structure becomes the same bytes, another structure others", async () => {
  const twice = (x: tf.Tensor) => [tf.tanh(tf.add(tf.mul(x, 2), tf.tensor1d([1, 2, 3])))];
  const [first, second] = [await bytesOf(twice), await bytesOf(twice)];
  assert.equal(first, second);
  for (const other of [
    (x: tf.Tensor) => [tf.tanh(tf.add(tf.mul(x, 3), tf.tensor1d([1, 2, 3])))],
    (x: tf.Tensor) => [tf.tanh(tf.add(tf.mul(x, 2), tf.tensor1d([1, 2, 4])))],
    (x: tf.Tensor) => [tf.tan(tf.add(tf.mul(x, 2), tf.tensor1d([1, 2, 3])))],
    (x: tf.Tensor) => [...twice(x), ...twice(x)],
  ]) {
    assert.notEqual(await bytesOf(other), first);
  }
});

test("parts that are all of what they were cut from are it again; others are put together", async () => {
  const nodesOf = async (build: (x: tf.Tensor) => tf.Tensor) => (await compile(backend, [matrix], (x) => [build(x ?? tf.scalar(0))])).nodeCount;
  const cut = (x: tf.Tensor) => tf.split(x, [1, 2], 1);
  assert.equal(await nodesOf((x) => tf.concat(cut(x), 1)), await nodesOf((x) => x));
  for (const other of [(x: tf.Tensor) => tf.concat(cut(x).reverse(), 1), (x: tf.Tensor) => tf.concat([...cut(x), x], 1), (x: tf.Tensor) => tf.concat([...cut(x).slice(1), ...cut(tf.neg(x)).slice(1)], 1)]) assert.ok((await nodesOf(other)) > (await nodesOf((x) => x)));
  const values = Float32Array.of(1, 2, 3, 4, 5, 6);
  const reversed = await compile(backend, [matrix], (x) => [tf.concat(cut(x ?? tf.scalar(0)).reverse(), 1)]);
  assert.deepEqual(await reversed.run([values]), [Float32Array.of(2, 3, 1, 5, 6, 4)]);
  const whole = await compile(backend, [matrix], (x) => [tf.mul(tf.concat(cut(x ?? tf.scalar(0)), 1), 2)]);
  assert.deepEqual(await whole.run([values]), [values.map((value) => 2 * value)]);
});

test("attributes that JSON can't tell apart are told apart", async () => {
  const slopes = [NaN, Infinity, -Infinity, 0.5];
  const compiled = await compile(backend, [vector], (x) => slopes.map((slope) => tf.leakyRelu(x ?? tf.scalar(0), slope)));
  const results = await compiled.run([Float32Array.of(-2, 1, 3)]);
  await compiled.close();
  assert.deepEqual(results.map((values) => values[0]), [NaN, -Infinity, Infinity, -1]);
});

/** Nodes of the file: one Identity per output, and what computes. */
const counted: readonly { readonly name: string; readonly inputs: readonly InputSpec[]; readonly build: (...inputs: tf.Tensor[]) => tf.Tensor[]; readonly nodes: number }[] = [
  { name: "ones and zeros vanish", inputs: [vector], build: (x) => [tf.sub(tf.div(tf.mul(tf.add(x, 0), 1), 1), 0)], nodes: 1 },
  { name: "arrays of ones and zeros vanish", inputs: [matrix], build: (x) => [tf.add(tf.mul(tf.ones([2, 3]), x), tf.zeros([3]))], nodes: 1 },
  { name: "a product with zero is a constant: Expand", inputs: [vector], build: (x) => [tf.mul(tf.exp(x), 0)], nodes: 2 },
  { name: "numbers are folded", inputs: [vector], build: (x) => [tf.mul(x, tf.div(tf.add(tf.scalar(2), 3), 10))], nodes: 2 },
  { name: "a Transpose there and back vanishes", inputs: [matrix], build: (x) => [tf.transpose(tf.transpose(x))], nodes: 1 },
  { name: "two Reshapes are one", inputs: [matrix], build: (x) => [tf.reshape(tf.reshape(x, [6]), [3, 2])], nodes: 2 },
  { name: "what is broadcast anyway is reshaped, not expanded", inputs: [matrix, vector], build: (x, y) => [tf.add(x, tf.broadcastTo(y, [2, 3]))], nodes: 3 },
  { name: "equal nodes are one", inputs: [vector], build: (x) => [tf.add(tf.exp(x), tf.exp(x)), tf.exp(x)], nodes: 4 },
  { name: "what no output needs is not there", inputs: [vector], build: (x) => [tf.exp(x), tf.sin(x)].slice(0, 1), nodes: 2 },
  { name: "transposes go into the product", inputs: [matrix, matrix], build: (x, y) => [tf.matMul(x, y, true, false)], nodes: 2 },
  {
    // Mul and ReduceSum for the value; each gradient is the other factor.
    name: "gradients of a weighted sum",
    inputs: [vector, vector],
    build: (...both) => {
      const { value, grads } = tf.valueAndGrads((x: tf.Tensor, w: tf.Tensor): tf.Scalar => tf.sum(tf.mul(x, w)))(both);
      return [value, ...grads];
    },
    nodes: 2 + 3,
  },
  {
    // The half that nothing used has a gradient of zeros: symbolic, joined to the other half by one Concat of an Expand.
    name: "the gradient of half a split",
    inputs: [{ shape: [2, 4], dtype: "float32" }],
    build: (x) => [tf.grad((given: tf.Tensor): tf.Scalar => tf.sum(tf.square(tf.split(given, 2, 1)[0] ?? given)))(x)],
    nodes: 5,
  },
];

for (const { name, inputs, build, nodes } of counted) {
  test(`${name}: ${nodes} nodes`, async () => {
    const compiled = await compile(backend, inputs, build);
    await compiled.close();
    assert.equal(compiled.nodeCount, nodes);
  });
}

test("a training step of the toy model has as many nodes as it had", async () => {
  const config = toyConfig();
  const modules = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"];
  const parameters: Parameter[] = modules.flatMap((name, at) => [
    { name: `${name}.A`, shape: [2, at === 0 ? 16 : 24], values: new Float32Array(2 * (at === 0 ? 16 : 24)).fill(0.1) },
    { name: `${name}.B`, shape: [16, 2], values: new Float32Array(32) },
  ]);
  const weights = toyWeights(config);
  const assemble = (tensors: readonly tf.Tensor[]) => ({
    weights: Object.fromEntries([...weights].map(([name, { shape, values }]) => [name, tf.tensor(values, [...shape])])),
    lora: toLora(parameters, tensors, 2),
  });
  const step = await createTrainStep(backend, parameters, assemble, config, { rows: 1, length: 8 }, adamWDefaults);
  // Grows when a rule or tfjs's gradients record more than they did: each node costs time at every step. Smaller is better: then lower it.
  assert.equal(step.compiled.nodeCount, 284);
  const { loss } = await step.run(toBatch([[{ ids: [1, 2, 3, 4], trained: [false, true, true, true] }]], 1, 8), 1e-3);
  assert.ok(Math.abs(loss - Math.log(config.vocabSize)) < 2, `loss ${loss} of random weights`);
  await step.compiled.close();
});

test("wrong inputs are refused, and what is wrong is named", async () => {
  const compiled = await compile(backend, [matrix, { shape: [2], dtype: "int32" }], (x, y) => [tf.gather(x ?? tf.scalar(0), y ?? tf.scalar(0))]);
  const [x, y] = [new Float32Array(6), new Int32Array(2)];
  await assert.rejects(compiled.run([x]), /expected 2 inputs, got 1/);
  await assert.rejects(compiled.run([x, y, y]), /expected 2 inputs, got 3/);
  await assert.rejects(compiled.run([x.subarray(1), y]), /input 0 has 5 elements, its shape \[2,3\] needs 6/);
  await assert.rejects(compiled.run([x, new Int32Array(3)]), /input 1 has 3 elements/);
  await assert.rejects(compiled.run([x, new Float32Array(2)]), /input 1 is Float32Array, its type int32 needs Int32Array/);
  await assert.rejects(compiled.run([new Int32Array(6), y]), /input 0 is Int32Array/);
  assert.equal((await compiled.run([x, y]))[0]?.length, 6);
  await compiled.close();
  await assert.rejects(compiled.run([x, y]), /disposed/);
});

test("inputs, constants and one tensor twice can be outputs; unused inputs stay inputs", async () => {
  const compiled = await compile(backend, [vector, vector], (x) => (x === undefined ? [] : [x, tf.scalar(3), x, tf.add(x, 0)]));
  const [x, unused] = [Float32Array.of(1, 2, 3), Float32Array.of(9, 9, 9)];
  assert.deepEqual(await compiled.run([x, unused]), [x, Float32Array.of(3), x, x]);
  assert.deepEqual(compiled.outputs.map(({ shape }) => shape), [[3], [], [3], [3]]);
  await compiled.close();
});

test("large constants are handed over at each run, not written into the model", async () => {
  const large = Float32Array.from({ length: 5_000 }, (_, at) => at);
  const compiled = await compile(backend, [vector], (x) => [tf.add(tf.sum(tf.tensor1d(large)), x ?? tf.scalar(0)), tf.max(tf.tensor2d(large, [50, 100]))]);
  const [sum, top] = await compiled.run([Float32Array.of(0, 1, 2)]);
  assert.deepEqual([...(sum as Float32Array)].map((value) => Math.round(value / 100)), [124_975, 124_975, 124_975]);
  assert.deepEqual(top, Float32Array.of(4_999));
  await compiled.close();
});

test("the backend that was selected before is selected after, also when the function throws", async () => {
  await tf.setBackend("cpu");
  await (await compile(backend, [vector], (x) => [tf.exp(x ?? tf.scalar(0))])).close();
  assert.equal(tf.getBackend(), "cpu");
  const fails = () => {
    throw new Error("no such function");
  };
  await assert.rejects(compile(backend, [vector], fails), /no such function/);
  assert.equal(tf.getBackend(), "cpu");
});

test("tracing leaves no tensor behind", async () => {
  await tf.setBackend("onnx");
  const before = [tf.memory().numTensors, backend.numDataIds()];
  const compiled = await compile(backend, [vector], (x) => [tf.grad((given: tf.Tensor): tf.Scalar => tf.sum(tf.exp(given)))(x ?? tf.scalar(0))]);
  await compiled.close();
  assert.deepEqual([tf.memory().numTensors, backend.numDataIds()], before);
});

test("a lazy read computes once, and may be read again", async () => {
  await tf.setBackend("onnx");
  const y = tf.tidy(() => tf.exp(tf.add(tf.tensor1d([0, 1]), tf.tensor1d([0, -1]))));
  assert.deepEqual(await y.data(), Float32Array.of(1, 1));
  assert.deepEqual(await y.array(), [1, 1]);
  assert.deepEqual(y.dataSync(), Float32Array.of(1, 1));
  y.dispose();
});

test("a tensor of a function being compiled can't be read", async () => {
  await assert.rejects(
    async () => {
      let kept: tf.Tensor | undefined;
      const compiled = await compile(backend, [vector], (x) => [(kept = tf.keep(tf.exp(x ?? tf.scalar(0))))]);
      await compiled.close();
      await tf.setBackend("onnx");
      await kept?.data();
    },
    /no values yet/,
  );
});
