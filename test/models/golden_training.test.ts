/**
 * Gradients of the toy models are PyTorch's, and ten AdamW steps lead where torch.optim.AdamW leads: of a LoRA adapter as fine-tuning trains it,
 * and of all weights as pre-training does.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { adapterParameters, toLora } from "../../shared/engine/language_model.ts";
import { evaluate } from "../../shared/engine/evaluate.ts";
import { toBatch, type Batch, type Example } from "../../shared/engine/pack.ts";
import { createLossFunction, type Assemble } from "../../shared/engine/loss_function.ts";
import { createTrainStep, type Parameter } from "../../shared/engine/step.ts";
import { adamWDefaults } from "../../shared/models/adamw.ts";
import { hiddenStates, lossesOf } from "../../shared/models/transformer.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { readAdapter } from "../../shared/peft/adapter.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { cases, Closeness, openGolden, tensorOf, type Golden } from "./golden.ts";

const gradientLimit = 1e-4;
const lossLimit = 1e-4;

interface Trained {
  readonly parameters: Parameter[];
  readonly assemble: Assemble;
}

/** The adapter is trained with its own B, so that its scale is part of the function: alpha 8 over rank 4. */
async function adapterOf({ model, adapterFolder }: Golden): Promise<Trained> {
  const adapter = await readAdapter(adapterFolder, model.folder.config);
  const scale = 2;
  const parameters = adapterParameters({ ...adapter, modules: new Map([...adapter.modules].map(([name, module]) => {
    assert.equal(module.scale, scale);
    return [name, { ...module, scale: 1 }];
  })) });
  return { parameters, assemble: (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, scale) }) };
}

async function wholeModelOf({ model }: Golden): Promise<Trained> {
  const parameters = [...(await model.folder.readWeights())].map(([name, { shape, values }]) => ({ name, shape, values }));
  return { parameters, assemble: (tensors) => ({ weights: Object.fromEntries(parameters.flatMap(({ name }, at) => (tensors[at] === undefined ? [] : [[name, tensors[at]]]))), lora: null }) };
}

/** Two layouts of the same examples, which must give the same gradients: a row each, and all in one. */
const layouts = [
  ["a row each", { rows: 3, length: 40 }, (examples: readonly Example[]) => examples.map((example) => [example])],
  ["packed", { rows: 1, length: 81 }, (examples: readonly Example[]) => [examples]],
] as const;

async function gradientsOf({ model }: Golden, { parameters, assemble }: Trained, batch: Batch): Promise<{ loss: number; gradients: Float32Array[] }> {
  const { config } = model.folder;
  const ints: InputSpec = { shape: [batch.rows, batch.length], dtype: "int32" };
  const graph = await compile(model.backend, [ints, ints, { ...ints, dtype: "float32" }, ints, ints, ...parameters.map(({ shape }): InputSpec => ({ shape, dtype: "float32" }))], (tokens, targets, weights, positions, segments, ...state) => {
    assert.ok(tokens && targets && weights && positions && segments);
    const { value, grads } = tf.valueAndGrads((...trained: tf.Tensor[]): tf.Scalar => {
      const assembled = assemble(trained);
      const losses = lossesOf(hiddenStates(tokens, positions, segments, assembled.weights, assembled.lora, config), tf.reshape(targets, [-1]), assembled.weights, config);
      return tf.div(tf.sum(tf.mul(losses, tf.reshape(weights, [-1]))), tf.sum(weights));
    })(state);
    return [value, ...grads];
  });
  const [loss, ...gradients] = await graph.run([batch.tokens, batch.targets, batch.weights, batch.positions, batch.segments, ...parameters.map(({ values }) => values)]);
  await graph.close();
  return { loss: Number(loss?.[0]), gradients: gradients as Float32Array[] };
}

const kinds = [
  { kind: "adapter", prefix: "adapter.gradient", trainedOf: adapterOf, adam: adamWDefaults },
  // cli/pretrain's settings.
  { kind: "base", prefix: "gradient", trainedOf: wholeModelOf, adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 } },
] as const;

for (const name of cases) {
  for (const { kind, prefix, trainedOf, adam } of kinds) {
    for (const [how, shape, group] of layouts) {
      test(`${name}, ${kind}, ${how}: loss and gradients`, async (t) => {
        const golden = await openGolden(name);
        const trained = await trainedOf(golden);
        const { loss, gradients } = await gradientsOf(golden, trained, toBatch(group(golden.examples), shape.rows, shape.length));
        new Closeness(lossLimit).check("loss", loss, golden[kind].batchLoss);
        const close = new Closeness(gradientLimit);
        const wanted = [...golden.expected.keys()].filter((key) => key.startsWith(`${prefix}.`));
        trained.parameters.forEach((parameter, at) => {
          if (wanted.includes(`${prefix}.${parameter.name}`)) close.check(parameter.name, gradients[at] ?? [], tensorOf(golden, `${prefix}.${parameter.name}`).values);
        });
        const known = trained.parameters.map((parameter) => `${prefix}.${parameter.name}`);
        assert.deepEqual(wanted.filter((key) => !known.includes(key)), [], "every golden gradient has its parameter");
        close.report(t);
      });

      test(`${name}, ${kind}, ${how}: ten steps of AdamW`, async (t) => {
        const golden = await openGolden(name);
        const { model } = golden;
        const { parameters, assemble } = await trainedOf(golden);
        const batch = toBatch(group(golden.examples), shape.rows, shape.length);
        const step = await createTrainStep(model.backend, parameters, assemble, model.folder.config, shape, adam);
        const close = new Closeness(lossLimit);
        const { steps, finalNorms, lossesAfter } = golden[kind].training;
        assert.ok(steps.some(({ gradientNorm }) => gradientNorm > 1), "clipping must be at work");
        for (const [at, expected] of steps.entries()) {
          const { loss, gradientNorm } = await step.run(batch, expected.learningRate);
          close.check(`loss of step ${at + 1}`, loss, expected.loss);
          close.check(`gradient norm of step ${at + 1}`, gradientNorm, expected.gradientNorm);
        }
        assert.deepEqual(parameters.map((parameter) => parameter.name).sort(), Object.keys(finalNorms).sort());
        for (const { name: parameter, values } of parameters) close.check(`norm of ${parameter}`, Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)), finalNorms[parameter] ?? NaN);
        const after = await createLossFunction(model.backend, parameters, assemble, model.folder.config, shape);
        (await evaluate(golden.examples, shape, (some) => after.run(some))).forEach((entry, at) => close.check(`loss of example ${at} after training`, entry?.loss ?? NaN, lossesAfter[at] ?? NaN));
        await step.compiled.close();
        await after.compiled.close();
        close.report(t);
      });
    }
  }
}
