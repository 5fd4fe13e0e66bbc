/** Ten steps with each setting that a run may have lead where torch.optim.AdamW and torch's schedulers lead (test/golden/make_training.py). */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { toLora } from "../../shared/engine/language_model.ts";
import { toBatch } from "../../shared/engine/pack.ts";
import { learningRateAt } from "../../shared/engine/schedule.ts";
import { createTrainStep, type Parameter } from "../../shared/engine/step.ts";
import { adamWDefaults } from "../../shared/models/adamw.ts";
import { readSafetensors } from "../../shared/models/safetensors.ts";
import { readAdapter } from "../../shared/peft/adapter.ts";
import { loraScale } from "../../shared/peft/config.ts";
import { Closeness, goldenFolder, openGolden } from "../models/golden.ts";

const goldens = z
  .array(
    z.object({
      name: z.string(),
      settings: z.object({ schedule: z.enum(["linear", "cosine", "constant"]), warmUp: z.int(), weightDecay: z.number(), clipNorm: z.number(), accumulation: z.int(), rankStabilised: z.boolean() }),
      steps: z.array(z.object({ learningRate: z.number(), loss: z.number(), gradientNorm: z.number() })).length(10),
    }),
  )
  .parse(JSON.parse(await readFile(join(goldenFolder, "training", "golden.json"), "utf8")));
const expected = await readSafetensors(join(goldenFolder, "training", "expected.safetensors"));

for (const { name, settings, steps } of goldens) {
  for (const recompute of [false, true]) {
    test(`${name}${recompute ? ", blocks computed again" : ""}: rates, losses, norms and the adapter after ten steps`, async (t) => {
      const { model, adapterFolder, examples } = await openGolden("tied");
      const adapter = await readAdapter(adapterFolder, model.folder.config);
      const parameters: Parameter[] = [...adapter.modules].flatMap(([module, { A, B, rank, inputs, outputs }]) => [
        { name: `${module}.A`, shape: [rank, inputs], values: A },
        { name: `${module}.B`, shape: [outputs, rank], values: B },
      ]);
      const { weightDecay, clipNorm, accumulation, rankStabilised } = settings;
      const scale = loraScale(4, 8, rankStabilised);
      const shape = { rows: 2, length: 40 };
      const step = await createTrainStep(model.backend, parameters, (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, scale) }), model.folder.config, shape, { ...adamWDefaults, weightDecay, clipNorm }, { accumulation, recompute });
      const batches = accumulation === 2 ? [examples.slice(0, 2), examples.slice(2)] : [examples.slice(0, 2)];
      const close = new Closeness(1e-4);
      for (const [at, wanted] of steps.entries()) {
        const rate = learningRateAt(at, steps.length, { ...settings, learningRate: 0.01 });
        // PyTorch multiplies its rate on from step to step: the last digits differ.
        assert.ok(Math.abs(rate - wanted.learningRate) < 1e-9, `rate of step ${at + 1}: ${rate} and ${wanted.learningRate}`);
        const { loss, gradientNorm } = await step.run(batches.map((batch) => toBatch(batch.map((example) => [example]), shape.rows, shape.length)), rate);
        close.check(`loss of step ${at + 1}`, loss, wanted.loss);
        close.check(`gradient norm of step ${at + 1}`, gradientNorm, wanted.gradientNorm);
      }
      assert.equal(parameters.length, [...expected.keys()].filter((key) => key.startsWith(`${name}.`)).length);
      // Adam divides a gradient by its own size: where it is next to nothing, the two programs' rounding decides on the direction.
      const weights = new Closeness(1e-3);
      for (const parameter of parameters) weights.check(parameter.name, parameter.values, expected.get(`${name}.${parameter.name}`)?.values ?? []);
      await step.close();
      close.report(t);
      weights.report(t);
    });
  }
}
