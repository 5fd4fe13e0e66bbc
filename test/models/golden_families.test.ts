/**
 * Every family of models: logits, losses, adapter gradients and ten AdamW steps are those of transformers, PEFT and torch on a toy model of it
 * (test/golden/make_families.py), and decoding with a cache gives the logits of reading the whole.
 */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { z } from "zod";
import { Decoder } from "../../shared/engine/decoder.ts";
import { evaluate } from "../../shared/engine/evaluate.ts";
import { adapterParameters, openLanguageModel, toLora, type LanguageModel } from "../../shared/engine/language_model.ts";
import { packSequences, toBatch, type Example } from "../../shared/engine/pack.ts";
import { createLossFunction, type Assemble } from "../../shared/engine/loss_function.ts";
import { createTrainStep, type Parameter } from "../../shared/engine/step.ts";
import { adamWDefaults } from "../../shared/models/adamw.ts";
import { supportedFamilies } from "../../shared/models/families.ts";
import { readSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { hiddenStates, logitsOf, lossesOf as headLosses } from "../../shared/models/transformer.ts";
import { readAdapter } from "../../shared/peft/adapter.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { Closeness, goldenFolder } from "./golden.ts";

const families = join(goldenFolder, "families");
const names = (await readdir(families)).sort();
/** Ten times as close as is promised; float32 gives another ten. */
const [logitsLimit, gradientLimit, stepLimit] = [2e-5, 1e-4, 1e-4];

/** What the adapters' B is divided by, and their product scaled with. */
const familyScale = 3 / 2;

const ids = z.array(z.int());
const losses = z.array(z.number()).length(3);
const goldenSchema = z.object({
  weights: z.string(),
  sequences: z.array(ids).length(3),
  examples: z.array(z.object({ ids, spoken: z.array(z.boolean()) })).length(3),
  losses,
  adapter: z.object({ losses, batchLoss: z.number(), steps: z.array(z.object({ learningRate: z.number(), loss: z.number(), gradientNorm: z.number() })).length(10), lossesAfter: losses }),
});

interface Family extends z.infer<typeof goldenSchema> {
  readonly model: LanguageModel;
  readonly expected: ReadonlyMap<string, NamedTensor>;
  /** With its own B, so that its scale is part of what is trained. */
  readonly adapter: z.infer<typeof goldenSchema>["adapter"];
  readonly parameters: Parameter[];
  readonly assemble: Assemble;
  readonly trained: readonly Example[];
}

let work: Promise<string> | undefined;
after(async () => {
  if (work !== undefined) await rm(await work, { recursive: true, force: true });
});

/** The model's files, those of the case whose weights it shares, and the toy tokenizer that every folder needs. */
async function openFamily(name: string): Promise<Family> {
  work ??= mkdtemp(join(tmpdir(), "everlora-families-"));
  const golden = goldenSchema.parse(JSON.parse(await readFile(join(families, name, "golden.json"), "utf8")));
  const folder = join(await mkdtemp(join(await work, "case-")), name);
  await cp(join(families, golden.weights), folder, { recursive: true });
  await cp(join(families, name, "config.json"), join(folder, "config.json"));
  for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) await cp(join(goldenFolder, "tokenizers", "toy", file), join(folder, file));
  const model = await openLanguageModel(folder, join(await work, "compiled"), { provider: "cpu", threads: 1 });
  const adapter = await readAdapter(join(families, name, "adapter"), model.folder.config);
  const parameters = adapterParameters(adapter);
  for (const [at, parameter] of parameters.entries()) if (at % 2 === 1) parameter.values = parameter.values.map((value) => value / familyScale);
  return {
    ...golden,
    model,
    expected: await readSafetensors(join(families, name, "expected.safetensors")),
    parameters,
    assemble: (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, familyScale) }),
    trained: golden.examples.map((example) => ({ ids: example.ids, trained: example.spoken })),
  };
}

const int = (...shape: number[]): InputSpec => ({ shape, dtype: "int32" });
const float = (shape: readonly number[]): InputSpec => ({ shape, dtype: "float32" });
/** B of zeros: the base. */
const silenced = (parameters: readonly Parameter[]) => parameters.map(({ values }, at) => (at % 2 === 1 ? new Float32Array(values.length) : values));
const given = (parameters: readonly Parameter[]) => parameters.map(({ values }) => values);
function tensorOf({ expected }: Family, name: string): Float32Array {
  const tensor = expected.get(name);
  assert.ok(tensor !== undefined, `the golden has no ${name}`);
  return tensor.values;
}

test("there is a golden for every family", async () => {
  const types = await Promise.all(names.map(async (name) => z.object({ model_type: z.string() }).parse(JSON.parse(await readFile(join(families, name, "config.json"), "utf8"))).model_type));
  assert.deepEqual([...new Set(types)].sort(), [...supportedFamilies].sort());
});

for (const name of names) {
  test(`${name}: logits of three sequences packed into one row, base and adapter`, async (t) => {
    const family = await openFamily(name);
    const { backend, folder: { config } } = family.model;
    const length = family.sequences.reduce((sum, members) => sum + members.length, 0) + 3;
    const graph = await compile(backend, [int(1, length), int(1, length), int(1, length), ...family.parameters.map(({ shape }) => float(shape))], (tokens, positions, segments, ...trained) => {
      assert.ok(tokens && positions && segments);
      const { weights, lora } = family.assemble(trained);
      return [logitsOf(hiddenStates(tokens, positions, segments, weights, lora, config), weights, config)];
    });
    // A packed row holds every token but the last of an example, which is only ever a target.
    const batch = toBatch([family.sequences.map((members) => ({ ids: [...members, 0], trained: [...members, 0].map(() => true) }))], 1, length);
    const close = new Closeness(logitsLimit);
    for (const [prefix, values] of [["logits", silenced(family.parameters)], ["adapter.logits", given(family.parameters)]] as const) {
      const [logits] = await graph.run([batch.tokens, batch.positions, batch.segments, ...values]);
      let end = 0;
      for (const [at, members] of family.sequences.entries()) {
        end += members.length * config.vocabSize;
        const wanted = tensorOf(family, `${prefix}.${at}`);
        close.check(`${prefix} of sequence ${at}`, (logits as Float32Array).subarray(end - wanted.length, end), wanted);
      }
    }
    await graph.close();
    close.report(t);
  });

  test(`${name}: read in pieces and token by token, base and adapter in one batch, the logits are those of the whole`, async (t) => {
    const family = await openFamily(name);
    const { vocabSize } = family.model.folder.config;
    const decoder = new Decoder(family.model);
    const scaled = family.parameters.map((parameter, at) => (at % 2 === 1 ? { ...parameter, values: parameter.values.map((value) => value * familyScale) } : parameter));
    const rows = ([["logits", 1, []], ["adapter.logits", 2, scaled], ["logits", 2, []]] as const).map(([prefix, at, adapter]) => {
      const members = family.sequences[at] ?? [];
      const prompt = members.slice(0, members.length >> 1);
      return { members, wanted: tensorOf(family, `${prefix}.${at}`), what: `${prefix} of sequence ${at}`, sequence: decoder.open(prompt, adapter) };
    });
    for (const { sequence } of rows) while ((await decoder.read(sequence, 7)) === null);
    const close = new Closeness(logitsLimit);
    for (;;) {
      const going = rows.filter(({ members, sequence }) => sequence.length < members.length);
      if (going.length === 0) break;
      const logits = await decoder.stepAll(going.map(({ members, sequence }) => ({ sequence, token: members[sequence.length] ?? -1 })));
      going.forEach(({ members, wanted, what, sequence }, at) => {
        const from = (sequence.length - 1) * vocabSize - (members.length * vocabSize - wanted.length);
        if (from >= 0) close.check(`${what}, position ${sequence.length - 1}`, logits[at] ?? [], wanted.subarray(from, from + vocabSize));
      });
    }
    close.report(t);
  });

  test(`${name}: adapter gradients, ten AdamW steps, and the losses before and after`, async (t) => {
    const family = await openFamily(name);
    const { model: { backend, folder: { config } }, parameters, assemble, trained } = family;
    const shape = { rows: 3, length: 39 };
    const batch = toBatch(trained.map((example) => [example]), shape.rows, shape.length);
    const graph = await compile(backend, [int(3, 39), int(3, 39), { shape: [3, 39], dtype: "float32" }, int(3, 39), int(3, 39), ...parameters.map((parameter) => float(parameter.shape))], (tokens, targets, weights, positions, segments, ...state) => {
      assert.ok(tokens && targets && weights && positions && segments);
      const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]): tf.Scalar => {
        const assembled = assemble(tensors);
        const each = headLosses(hiddenStates(tokens, positions, segments, assembled.weights, assembled.lora, config), tf.reshape(targets, [-1]), assembled.weights, config);
        return tf.div(tf.sum(tf.mul(each, tf.reshape(weights, [-1]))), tf.sum(weights));
      })(state);
      return [value, ...grads];
    });
    const [loss, ...gradients] = await graph.run([batch.tokens, batch.targets, batch.weights, batch.positions, batch.segments, ...given(parameters)]);
    await graph.close();
    const close = new Closeness(gradientLimit);
    close.check("loss", Number(loss?.[0]), family.adapter.batchLoss);
    parameters.forEach((parameter, at) => close.check(`gradient of ${parameter.name}`, (gradients[at] ?? []) as Float32Array, tensorOf(family, `adapter.gradient.${parameter.name}`)));
    assert.equal([...family.expected.keys()].filter((key) => key.startsWith("adapter.gradient.")).length, parameters.length, "every golden gradient has its parameter");

    const lossFunction = await createLossFunction(backend, parameters, assemble, config, shape);
    const measure = async (values: readonly Float32Array[]) => {
      const results = await evaluate(trained, shape, (some) => lossFunction.run(some, parameters.map((parameter, at) => ({ ...parameter, values: values[at] ?? parameter.values }))));
      return results.map((entry) => entry?.loss ?? NaN);
    };
    assert.equal(packSequences(trained, shape.length).length, 3 - 1, "two of the three share a row");
    const steps = new Closeness(stepLimit);
    steps.check("the base's losses", await measure(silenced(parameters)), family.losses);
    steps.check("the adapter's losses", await measure(given(parameters)), family.adapter.losses);
    const step = await createTrainStep(backend, parameters, assemble, config, shape, adamWDefaults);
    for (const [at, wanted] of family.adapter.steps.entries()) {
      const { loss: found, gradientNorm } = await step.run(batch, wanted.learningRate);
      steps.check(`loss of step ${at + 1}`, found, wanted.loss);
      steps.check(`gradient norm of step ${at + 1}`, gradientNorm, wanted.gradientNorm);
    }
    steps.check("the losses after training", await measure(given(parameters)), family.adapter.lossesAfter);
    await step.compiled.close();
    await lossFunction.compiled.close();
    close.report(t);
    steps.report(t);
  });
}
