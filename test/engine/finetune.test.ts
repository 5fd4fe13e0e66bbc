import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { evaluate, meanLoss } from "../../shared/engine/evaluate.ts";
import { createFinetuner, learningRateAt, type FinetuneSettings, type FinetuneStep } from "../../shared/engine/finetune.ts";
import { openLanguageModel, type LanguageModel } from "../../shared/engine/language_model.ts";
import { toBatch, type Example } from "../../shared/engine/pack.ts";
import { allTargets, modulesOf } from "../../shared/peft/adapter.ts";
import { verifyGraph } from "../../shared/tensor/verify.ts";
import { writeToyModel } from "../support/toy_model.ts";

const settings: FinetuneSettings = { rank: 4, alpha: 8, epochs: 3, learningRate: 0.02, sequenceLength: 32, batchSize: 2, seed: 3 };
const never = new AbortController().signal;
let folder = "";
let model: LanguageModel;
let examples: Example[] = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-finetune-"));
  model = await openLanguageModel(await writeToyModel(join(folder, "toy")), join(folder, "compiled"), { provider: "cpu", threads: 1 });
  model.backend.inspect = verifyGraph;
  examples = Array.from({ length: 12 }, (_, at) => {
    const { ids, spoken } = model.tokenizer.conversation([
      { role: "user", content: `order ${at}?` },
      { role: "assistant", content: "late" },
    ]);
    return { ids, trained: spoken };
  });
});
after(() => rm(folder, { recursive: true, force: true }));

const finetuner = (changes: Partial<FinetuneSettings> = {}) => createFinetuner(model, modulesOf(model.folder.config, allTargets(model.folder.config)), { ...settings, ...changes });
const train = async (changes: Partial<FinetuneSettings> = {}) => {
  const tuner = await finetuner(changes);
  const steps: FinetuneStep[] = [];
  await tuner.train(examples, (step) => steps.push(step), never);
  return { tuner, steps, values: tuner.parameters.map(({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64")) };
};

test("the loss falls, every step is reported, and the number of steps is the one promised with the first", async () => {
  const { tuner, steps } = await train();
  const [first, last] = [steps[0], steps.at(-1)];
  assert.ok(first !== undefined && last !== undefined);
  assert.ok(last.loss < first.loss * 0.6, `${first.loss} → ${last.loss}`);
  assert.ok(steps.every((step, at) => step.step === at + 1 && step.steps === steps.length && Number.isFinite(step.gradientNorm)));
  assert.ok(Math.abs(last.epoch - settings.epochs) < 1e-9);
  // Each epoch trains every token once, whatever the order packs into.
  const tokens = examples.reduce((sum, { trained }) => sum + trained.slice(1).filter(Boolean).length, 0);
  assert.equal(steps.reduce((sum, step) => sum + step.trainedTokens, 0), settings.epochs * tokens);
  const trained = meanLoss(await evaluate(examples, { rows: 2, length: 32 }, tuner.loss)).loss;
  assert.ok(trained < first.loss * 0.6, `evaluated: ${trained}`);
});

test("the same seed gives the same bits, another seed others", async () => {
  const [one, two, other] = [await train({ epochs: 1 }), await train({ epochs: 1 }), await train({ epochs: 1, seed: 4 })];
  assert.deepEqual(one.values, two.values);
  assert.deepEqual(one.steps.map(({ loss, gradientNorm }) => [loss, gradientNorm]), two.steps.map(({ loss, gradientNorm }) => [loss, gradientNorm]));
  assert.notDeepEqual(one.values, other.values);
});

test("B begins at zero and A does not: untrained, the adapter is the base to the last bit", async () => {
  const [one, two] = [await finetuner(), await finetuner({ seed: 9, rank: 2 })];
  const batch = toBatch([examples.slice(0, 2)], 2, 32);
  assert.deepEqual(await one.loss(batch), await two.loss(batch));
  for (const { name, values } of one.parameters) assert.equal(values.every((value) => value === 0), name.endsWith(".B"), name);
});

test("an example's loss does not depend on what it is packed with, nor on its row or place", async () => {
  const { tuner } = await train({ epochs: 1 });
  const alone = await evaluate(examples, { rows: 2, length: 32 }, async (batch) => tuner.loss(batch));
  const single = [];
  for (const example of examples) single.push(...(await evaluate([example], { rows: 2, length: 32 }, tuner.loss)));
  const reversed = (await evaluate([...examples].reverse(), { rows: 2, length: 32 }, tuner.loss)).reverse();
  for (const other of [single, reversed]) {
    alone.forEach((entry, at) => {
      assert.equal(other[at]?.tokens, entry?.tokens);
      assert.ok(Math.abs((other[at]?.loss ?? NaN) - (entry?.loss ?? NaN)) < 1e-5, `example ${at}: ${other[at]?.loss} and ${entry?.loss}`);
    });
  }
});

test("an aborted training stops before its next step", async () => {
  const tuner = await finetuner();
  const stopping = new AbortController();
  let steps = 0;
  const training = tuner.train(
    examples,
    () => {
      steps++;
      if (steps === 2) stopping.abort(new Error("cancelled by a person"));
    },
    stopping.signal,
  );
  await assert.rejects(training, /cancelled by a person/);
  assert.equal(steps, 2);
});

test("the learning rate climbs for the first twentieth, then falls along a cosine", () => {
  const rates = Array.from({ length: 100 }, (_, step) => learningRateAt(step, 100, 1));
  assert.deepEqual(rates.slice(0, 5), [0.2, 0.4, 0.6, 0.8, 1]);
  assert.equal(rates[5], 1);
  assert.ok(rates.slice(5).every((rate, at, list) => rate > 0 && (at === 0 || rate < (list[at - 1] ?? 0))));
  assert.ok(Math.abs((rates[52] ?? 0) - 0.5) < 0.02);
  assert.deepEqual([learningRateAt(0, 1, 0.3), learningRateAt(0, 2, 0.3)], [0.3, 0.3]);
});
