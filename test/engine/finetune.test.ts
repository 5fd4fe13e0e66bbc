import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { evaluate, meanLoss } from "../../shared/engine/evaluate.ts";
import { createFinetuner, type FinetuneHooks, type FinetuneSettings, type FinetuneStep } from "../../shared/engine/finetune.ts";
import { openLanguageModel, type LanguageModel } from "../../shared/engine/language_model.ts";
import { toBatch, type Example } from "../../shared/engine/pack.ts";
import type { FinetuneState } from "../../shared/engine/progress.ts";
import { epochsFor, learningRateAt } from "../../shared/engine/schedule.ts";
import { allTargets, modulesOf } from "../../shared/peft/adapter.ts";
import { verifyGraph } from "../../shared/tensor/verify.ts";
import { writeToyModel } from "../support/toy_model.ts";

const settings: FinetuneSettings = {
  rank: 4,
  alpha: 8,
  rankStabilised: false,
  dropout: 0,
  epochs: 3,
  learningRate: 0.02,
  schedule: "cosine",
  warmUp: 0.05,
  weightDecay: 0,
  clipNorm: 1,
  sequenceLength: 32,
  batchSize: 2,
  accumulation: 1,
  evaluation: "epoch",
  patience: 0,
  recompute: false,
  packWeights: false,
  seed: 3,
};
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

const finetuner = (changes: Partial<FinetuneSettings> = {}) => createFinetuner(model, modulesOf(model.folder.config, allTargets(model.folder.config)), { ...settings, ...changes }, examples);
const train = async (changes: Partial<FinetuneSettings> = {}, hooks: Partial<FinetuneHooks> = {}) => {
  const tuner = await finetuner(changes);
  const steps: FinetuneStep[] = [];
  const result = await tuner.train({ onStep: (step) => steps.push(step), ...hooks }, never);
  return { tuner, steps, result, values: tuner.parameters.map(({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64")) };
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
    {
      onStep: () => {
        steps++;
        if (steps === 2) stopping.abort(new Error("cancelled by a person"));
      },
    },
    stopping.signal,
  );
  await assert.rejects(training, /cancelled by a person/);
  assert.equal(steps, 2);
});

const everything: Partial<FinetuneSettings> = { dropout: 0.2, weightDecay: 0.05, clipNorm: 0.3, accumulation: 2, batchSize: 1, rankStabilised: true, schedule: "linear", warmUp: 3, packWeights: true };

test("a training that is cut off at any step and goes on from its state ends with the same bits, with every setting on", async () => {
  const losses = [3, 2, 2.5]; // after each epoch: the second is the best, so that what is kept must survive, too
  const evaluator = () => {
    const left = [...losses];
    return { evaluate: () => Promise.resolve(left.shift() ?? NaN), skip: (count: number) => left.splice(0, count) };
  };
  const states: FinetuneState[] = [];
  const whole = await train(everything, { evaluate: evaluator().evaluate, save: (state) => Promise.resolve(void states.push(state())) });
  assert.equal(states.length, whole.steps.length);
  assert.notEqual(whole.result.bestStep, whole.steps.length);
  for (const from of [states[0], states[Math.floor(states.length / 2)], states.at(-2), states.at(-1)]) {
    assert.ok(from !== undefined);
    const { evaluate, skip } = evaluator();
    skip(from.evaluations.length);
    const rest = await train(everything, { evaluate, from });
    assert.deepEqual(rest.values, whole.values, `from step ${from.optimiser.steps}`);
    assert.deepEqual(rest.result, whole.result);
    const [after, expected] = [rest.steps, whole.steps.slice(from.optimiser.steps)].map((list) => list.map(({ seconds: _seconds, ...step }) => step));
    assert.deepEqual(after, expected);
  }
});

test("the best measured adapter is the result, and training stops when nothing better comes", async () => {
  const left = [2, 1, 1.5, 1.25, 0.5];
  const seen: string[] = [];
  const kept: Float32Array[] = [];
  const { result, tuner, steps } = await train({ epochs: 5, patience: 2 }, {
    evaluate: () => Promise.resolve(left.shift() ?? NaN),
    onEvaluation: ({ step, loss }, best) => seen.push(`${step} ${loss} ${best}`),
    save: (state) => Promise.resolve(void kept.push(state().optimiser.values)),
  });
  const perEpoch = steps.length / 4;
  assert.deepEqual(seen, [`${perEpoch} 2 true`, `${2 * perEpoch} 1 true`, `${3 * perEpoch} 1.5 false`, `${4 * perEpoch} 1.25 false`]);
  assert.deepEqual([result.stoppedEarly, result.steps, result.bestStep], [true, 4 * perEpoch, 2 * perEpoch]);
  const whole = Float32Array.from(tuner.parameters.flatMap(({ values }) => [...values]));
  assert.deepEqual(whole, Float32Array.from(kept[2 * perEpoch - 1] ?? []));
  assert.notDeepEqual(whole, Float32Array.from(kept.at(-1) ?? []));
});

test("the held-out loss is measured when the setting says: at the end, every so many steps, and always after the last", async () => {
  const measured = async (evaluation: FinetuneSettings["evaluation"], epochs = 2) => {
    const { result, steps } = await train({ evaluation, epochs }, { evaluate: () => Promise.resolve(1) });
    return { at: result.evaluations.map(({ step }) => step), steps: steps.length };
  };
  const end = await measured("end");
  assert.deepEqual(end.at, [end.steps]);
  const third = await measured(3);
  assert.deepEqual(third.at, [...new Set([...Array.from({ length: Math.floor(third.steps / 3) }, (_, at) => 3 * (at + 1)), third.steps])]);
  assert.deepEqual((await train({ epochs: 1 })).result.evaluations, []);
});

test("an evaluation of what is trained with dropout has none: twice the same, whatever the step", async () => {
  const { tuner } = await train({ dropout: 0.5, epochs: 1 });
  const batch = toBatch([examples.slice(0, 1)], 2, 32);
  assert.deepEqual(await tuner.loss(batch), await tuner.loss(batch));
  const untrained = await finetuner({ dropout: 0.5 });
  assert.deepEqual(await untrained.loss(batch), await tuner.loss(batch, "base"));
});

test("an adapter to go on from is the beginning; one of another form is refused", async () => {
  const first = await train({ epochs: 1 });
  const initial = new Map(Array.from({ length: first.tuner.parameters.length / 2 }, (_, at) => [first.tuner.parameters[2 * at]?.name.slice(0, -2) ?? "", { A: first.tuner.parameters[2 * at]?.values ?? new Float32Array(), B: first.tuner.parameters[2 * at + 1]?.values ?? new Float32Array() }]));
  const modules = modulesOf(model.folder.config, allTargets(model.folder.config));
  const next = await createFinetuner(model, modules, settings, examples, initial);
  const batch = toBatch([examples.slice(0, 1)], 2, 32);
  assert.deepEqual(await next.loss(batch), await first.tuner.loss(batch));
  await assert.rejects(createFinetuner(model, modules, { ...settings, rank: 2 }, examples, initial), /has 32 elements, the adapter to go on from 64/);
  await assert.rejects(createFinetuner(model, modules.slice(1), settings, examples, initial), /13 modules can't go on from one on 14/);
});

test("the learning rate climbs, then falls along a cosine or a line, or stays", () => {
  const rates = (schedule: FinetuneSettings["schedule"], warmUp: number, steps = 100) => Array.from({ length: steps }, (_, step) => learningRateAt(step, steps, { learningRate: 1, schedule, warmUp }));
  const cosine = rates("cosine", 0.05);
  assert.deepEqual(cosine.slice(0, 5), [0.2, 0.4, 0.6, 0.8, 1]);
  assert.equal(cosine[5], 1);
  assert.ok(cosine.slice(5).every((rate, at, list) => rate > 0 && (at === 0 || rate < (list[at - 1] ?? 0))));
  assert.ok(Math.abs((cosine[52] ?? 0) - 0.5) < 0.02);
  assert.deepEqual(rates("linear", 2, 6), [0.5, 1, 1, 0.75, 0.5, 0.25]);
  assert.deepEqual(rates("constant", 0, 3), [1, 1, 1]);
  assert.deepEqual(rates("constant", 50, 4), [0.25, 0.5, 0.75, 1]); // a longer warm-up than there are steps
  assert.deepEqual([1, 2].map((steps) => learningRateAt(0, steps, { learningRate: 0.3, schedule: "cosine", warmUp: 0.05 })), [0.3, 0.3]);
});

test("epochs: a number is that number; auto is 10,000 rows' worth, from 1 to 10", () => {
  assert.deepEqual([1, 500, 1_000, 3_000, 4_001, 9_000, 100_000].map((rows) => epochsFor(rows, "auto")), [10, 10, 10, 3, 2, 1, 1]);
  assert.equal(epochsFor(5, 7), 7);
});
