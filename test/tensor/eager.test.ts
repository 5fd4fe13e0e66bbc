/**
 * Eager backends: the trainer's and the gateway's own code on another tfjs backend. tfjs's CPU backend stands in for tfjs-node's, under its name, so that every line
 * but the import of the package is the one that runs there.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { MathBackendCPU } from "@tensorflow/tfjs-backend-cpu";
import { Decoder } from "../../shared/engine/decoder.ts";
import { evaluate, meanLoss } from "../../shared/engine/evaluate.ts";
import { createFinetuner } from "../../shared/engine/finetune.ts";
import { openLanguageModel, type LanguageModel } from "../../shared/engine/language_model.ts";
import type { Example } from "../../shared/engine/pack.ts";
import "../../shared/models/gradients.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { allTargets, modulesOf } from "../../shared/peft/adapter.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { EagerBackend } from "../../shared/tensor/eager.ts";
import { tfjsNodeName } from "../../shared/tensor/open_backend.ts";
import { writeToyModel } from "../support/toy_model.ts";
import { backend as onnx } from "./support/both.ts";

let folder = "";
const models: Partial<Record<"onnx" | "eager", LanguageModel>> = {};
const eager = new EagerBackend({ provider: "tfjs-node-gpu", threads: 1 }, tfjsNodeName);
before(async () => {
  tf.registerBackend(tfjsNodeName, () => new MathBackendCPU());
  tf.copyRegisteredKernels("cpu", tfjsNodeName);
  await tf.setBackend("onnx");
  folder = await mkdtemp(join(tmpdir(), "everlora-eager-"));
  const path = await writeToyModel(join(folder, "toy"));
  models.onnx = await openLanguageModel(path, join(folder, "compiled"), { provider: "cpu", threads: 1 });
  models.eager = await openLanguageModel(path, join(folder, "compiled"), { provider: "tfjs-node-gpu", threads: 1 });
  assert.ok(models.eager.backend instanceof EagerBackend && !(models.onnx.backend instanceof EagerBackend));
});
after(() => rm(folder, { recursive: true, force: true }));

const modelOf = (which: "onnx" | "eager"): LanguageModel => models[which] ?? assert.fail();
const matrix: InputSpec = { shape: [2, 3], dtype: "float32" };
const rows: InputSpec = { shape: [2], dtype: "int32" };
const examplesOf = ({ tokenizer }: LanguageModel): Example[] =>
  Array.from({ length: 6 }, (_, at) => {
    const { ids, spoken } = tokenizer.conversation([{ role: "user", content: `order ${at}?` }, { role: "assistant", content: "late" }]);
    return { ids, trained: spoken };
  });

test("a function has one surface, whoever runs it", async () => {
  const build = (x: tf.Tensor = tf.scalar(0), at: tf.Tensor = tf.scalar(0)) => [tf.gather(tf.exp(x), at), tf.greater(x, 0), tf.argMax(x, 1)];
  const [ours, theirs] = [await compile(onnx, [matrix, rows], build), await compile(eager, [matrix, rows], build)];
  assert.deepEqual(theirs.outputs, ours.outputs);
  const inputs = [Float32Array.of(0, 1, -1, 2, 0.5, 3), Int32Array.of(1, 0)];
  const [a, b] = [await ours.run(inputs), await theirs.run(inputs)];
  assert.equal(a.length, 3);
  a.forEach((values, at) => {
    assert.equal(values.constructor, b[at]?.constructor);
    values.forEach((value, element) => assert.ok(Math.abs(Number(value) - Number(b[at]?.[element])) < 1e-5));
  });
  for (const bad of [[], [inputs[0] ?? new Float32Array(6), new Int32Array(3)], [new Int32Array(6), new Int32Array(2)]]) {
    const messages = await Promise.all([ours, theirs].map((made) => made.run(bad).then(() => "nothing", String)));
    assert.notEqual(messages[0], "nothing");
    assert.equal(messages[0], messages[1]);
  }
});

test("free sides take any size", async () => {
  const build = (x: tf.Tensor = tf.scalar(0)) => [tf.sum(x, 1), tf.concat([x, x])];
  const made = await compile(eager, [matrix], build, [{ shape: [5, 3], dtype: "float32" }]);
  assert.deepEqual(made.outputs.map(({ shape }) => shape), [[-1], [-1, 3]]);
  assert.deepEqual((await made.run([{ values: Float32Array.of(1, 2, 3), shape: [1, 3] }]))[0], Float32Array.of(6));
  await assert.rejects(made.run([{ values: new Float32Array(4), shape: [1, 4] }]), /has the shape \[1,4\], the function takes \[-1,3\]/);
});

test("no tensor is left behind, and the backend that was selected stays", async () => {
  await tf.setBackend("onnx");
  const made = await compile(eager, [matrix], (x = tf.scalar(0)) => [x, tf.grad((y: tf.Tensor) => tf.sum(tf.square(y)))(x)]);
  const before = tf.memory().numTensors;
  for (let run = 0; run < 3; run++) assert.deepEqual((await made.run([Float32Array.of(1, 2, 3, 4, 5, 6)]))[1], Float32Array.of(2, 4, 6, 8, 10, 12));
  assert.equal(tf.memory().numTensors, before);
  assert.equal(tf.getBackend(), "onnx");
  await assert.rejects(compile(eager, [matrix], () => { throw new Error("no such function"); }), /no such function/);
  assert.equal(tf.getBackend(), "onnx");
});

test("fine-tuning takes the steps that it takes on the backend onnx", async () => {
  const train = async (which: "onnx" | "eager") => {
    const model = modelOf(which);
    const settings = { rank: 4, alpha: 8, rankStabilised: false, dropout: 0, epochs: 2, learningRate: 0.02, schedule: "cosine" as const, warmUp: 0.05, weightDecay: 0.01, clipNorm: 1, sequenceLength: 32, batchSize: 2, accumulation: 1, evaluation: "epoch" as const, patience: 0, recompute: false, packWeights: false, seed: 3 };
    const tuner = await createFinetuner(model, modulesOf(model.folder.config, allTargets(model.folder.config)), settings, examplesOf(model));
    const losses: number[] = [];
    await tuner.train({ onStep: ({ loss, gradientNorm }) => losses.push(loss, gradientNorm) }, new AbortController().signal);
    const after = meanLoss(await evaluate(examplesOf(model), { rows: 2, length: 32 }, tuner.loss)).loss;
    return [...losses, after];
  };
  const [expected, actual] = [await train("onnx"), await train("eager")];
  assert.ok(expected.length >= 5 && expected.length === actual.length);
  actual.forEach((value, at) => assert.ok(Math.abs(value - (expected[at] ?? NaN)) < 1e-4 * Math.max(1, Math.abs(value)), `${at}: ${value}, the backend onnx has ${expected[at]}`));
});

test("decoding gives the logits that the backend onnx gives", async () => {
  const decode = async (which: "onnx" | "eager") => {
    const decoder = new Decoder(modelOf(which));
    const { sequence, logits } = await decoder.start([4, 19, 77, 140, 8], []);
    return [logits, await decoder.step(sequence, 33), await decoder.step(sequence, 201)];
  };
  const [expected, actual] = [await decode("onnx"), await decode("eager")];
  actual.forEach((logits, at) => logits.forEach((value, token) => assert.ok(Math.abs(value - (expected[at]?.[token] ?? NaN)) < 1e-4, `step ${at}, token ${token}`)));
});
