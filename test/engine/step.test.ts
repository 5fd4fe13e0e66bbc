/** The step's variants compute what the plain step does: recomputation, accumulation, a state put back; and dropout does what it says. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openLanguageModel, toLora, type LanguageModel } from "../../shared/engine/language_model.ts";
import { packSequences, toBatch, type Batch, type Example } from "../../shared/engine/pack.ts";
import type { Assemble } from "../../shared/engine/loss_function.ts";
import { createTrainStep, type Parameter, type StepOptions } from "../../shared/engine/step.ts";
import { adamWDefaults } from "../../shared/models/adamw.ts";
import { createRandom } from "../../shared/models/random.ts";
import { allTargets, modulesOf } from "../../shared/peft/adapter.ts";
import { verifyGraph } from "../../shared/tensor/verify.ts";
import { writeToyModel } from "../support/toy_model.ts";

const adam = { ...adamWDefaults, weightDecay: 0.1, clipNorm: 0.5 };
const length = 32;
let folder = "";
let model: LanguageModel;
let sequences: Example[][] = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-step-"));
  model = await openLanguageModel(await writeToyModel(join(folder, "toy")), join(folder, "compiled"), { provider: "cpu", threads: 1 });
  model.backend.inspect = verifyGraph;
  const examples = Array.from({ length: 8 }, (_, at) => {
    const { ids, spoken } = model.tokenizer.conversation([
      { role: "user", content: `order ${at}?`.repeat(1 + (at % 2)) },
      { role: "assistant", content: "late" },
    ]);
    return { ids, trained: spoken };
  });
  sequences = packSequences(examples, length);
});
after(() => rm(folder, { recursive: true, force: true }));

/** An adapter whose B is not zero, so that every gradient is there. */
function adapter(): Parameter[] {
  const random = createRandom(7);
  return modulesOf(model.folder.config, allTargets(model.folder.config)).flatMap(({ name, inputs, outputs }) => [
    { name: `${name}.A`, shape: [4, inputs], values: new Float32Array(4 * inputs).map(() => 0.2 * random.normal()) },
    { name: `${name}.B`, shape: [outputs, 4], values: new Float32Array(outputs * 4).map(() => 0.2 * random.normal()) },
  ]);
}

async function stepOf(rows: number, options: StepOptions = {}) {
  const parameters = adapter();
  const assemble: Assemble = (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, 2) });
  const step = await createTrainStep(model.backend, parameters, assemble, model.folder.config, { rows, length }, adam, options);
  return { step, parameters };
}

const batchOf = (from: number, rows: number): Batch => toBatch(sequences.slice(from, from + rows), rows, length);
const bits = (parameters: readonly Parameter[]) => parameters.map(({ values }) => Buffer.from(values.slice().buffer).toString("base64"));

function assertClose(a: readonly Parameter[], b: readonly Parameter[], limit: number): void {
  for (const [at, { name, values }] of a.entries()) {
    values.forEach((value, index) => assert.ok(Math.abs(value - (b[at]?.values[index] ?? NaN)) < limit, `${name}[${index}]: ${value} and ${b[at]?.values[index]}`));
  }
}

for (const dropout of [undefined, { share: 0.3, seed: 5 }]) {
  test(`blocks that are computed again give the same losses, norms and weights${dropout === undefined ? "" : ", with dropout too"}`, async () => {
    const options = dropout === undefined ? {} : { dropout };
    const [plain, again] = [await stepOf(2, options), await stepOf(2, { ...options, recompute: true })];
    assert.ok(again.step.compiled.nodeCount > plain.step.compiled.nodeCount * 1.2, "the second graph must compute more");
    for (let at = 0; at < 3; at++) {
      const [one, two] = [await plain.step.run(batchOf(0, 2), 0.01), await again.step.run(batchOf(0, 2), 0.01)];
      assert.ok(Math.abs(one.loss - two.loss) < 1e-6 && Math.abs(one.gradientNorm - two.gradientNorm) < 1e-5, `${one.loss} ${two.loss}; ${one.gradientNorm} ${two.gradientNorm}`);
    }
    assertClose(plain.parameters, again.parameters, 1e-5);
    await plain.step.close();
    await again.step.close();
  });
}

test("what lies outside of the blocks can't be trained with recomputation, and is refused", async () => {
  const parameters: Parameter[] = [{ name: "model.norm.weight", shape: [16], values: new Float32Array(16).fill(1) }];
  const assemble: Assemble = ([norm]) => ({ weights: norm === undefined ? model.weights : { ...model.weights, "model.norm.weight": norm }, lora: null });
  await assert.rejects(createTrainStep(model.backend, parameters, assemble, model.folder.config, { rows: 1, length }, adam, { recompute: true }), /outside of the blocks/);
});

test("a step of several batches is the step of one batch that holds them all, also when the last one is short", async () => {
  const [large, small] = [await stepOf(4), await stepOf(1, { accumulation: 4 })];
  for (const count of [4, 3]) {
    const one = await large.step.run(toBatch(sequences.slice(0, count), 4, length), 0.01);
    const two = await small.step.run(Array.from({ length: count }, (_, at) => batchOf(at, 1)), 0.01);
    assert.ok(Math.abs(one.loss - two.loss) < 1e-5 && Math.abs(one.gradientNorm - two.gradientNorm) < 1e-5, `${one.loss} ${two.loss}; ${one.gradientNorm} ${two.gradientNorm}`);
  }
  // Adam divides by the gradient's own size: where that is next to nothing, rounding decides.
  assertClose(large.parameters, small.parameters, 1e-4);
  await assert.rejects(small.step.run(Array.from({ length: 5 }, () => batchOf(0, 1)), 0.01), /5 batches do not go into a step of 4/);
  await assert.rejects(small.step.run([], 0.01), /0 batches/);
  await large.step.close();
  await small.step.close();
});

for (const accumulation of [1, 2]) {
  test(`a state that is put into another process's step goes on to the same bits (${accumulation} batches a step)`, async () => {
    const options: StepOptions = { accumulation, dropout: { share: 0.1, seed: 3 } };
    const batches = () => Array.from({ length: accumulation }, (_, at) => batchOf(at, 2));
    const [whole, resumed] = [await stepOf(2, options), await stepOf(2, options)];
    for (let at = 0; at < 2; at++) await whole.step.run(batches(), 0.01);
    const saved = whole.step.state();
    const before = bits(whole.parameters);
    await whole.step.run(batches(), 0.01);
    resumed.step.restore(saved);
    assert.deepEqual(bits(resumed.parameters), before);
    await resumed.step.run(batches(), 0.01);
    assert.deepEqual(bits(resumed.parameters), bits(whole.parameters));
    assert.throws(() => resumed.step.restore({ ...saved, first: saved.first.subarray(1) }), /first has .* elements/);
    await whole.step.close();
    await resumed.step.close();
  });
}

test("dropout: another mask each step and seed, the same for the same, and none at 0", async () => {
  const lossOf = async (options: StepOptions, steps = 1) => {
    const { step } = await stepOf(2, options);
    const losses: number[] = [];
    for (let at = 0; at < steps; at++) losses.push((await step.run(batchOf(0, 2), 0)).loss); // learning rate 0: only the masks differ
    await step.close();
    return losses;
  };
  const [plain] = await lossOf({});
  const [first, second] = await lossOf({ dropout: { share: 0.3, seed: 1 } }, 2);
  assert.notEqual(first, plain);
  assert.notEqual(first, second);
  assert.deepEqual(await lossOf({ dropout: { share: 0.3, seed: 1 } }, 2), [first, second]);
  assert.notDeepEqual(await lossOf({ dropout: { share: 0.3, seed: 2 } }), [first]);
  assert.deepEqual(await lossOf({ dropout: { share: 0, seed: 1 } }), [plain]);
});
