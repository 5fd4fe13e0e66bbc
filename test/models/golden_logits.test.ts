/** Logits and losses of the toy models are those of Hugging Face's LlamaForCausalLM, alone and packed, with and without a LoRA adapter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate } from "../../shared/engine/evaluate.ts";
import { adapterParameters, toLora } from "../../shared/engine/language_model.ts";
import { packSequences, toBatch, type Example } from "../../shared/engine/pack.ts";
import type { Parameter } from "../../shared/engine/flat_parameters.ts";
import { createLossFunction } from "../../shared/engine/loss_function.ts";
import { hiddenStates, logitsOf } from "../../shared/models/transformer.ts";
import { readAdapter } from "../../shared/peft/adapter.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { cases, Closeness, openGolden, tensorOf, type Golden } from "./golden.ts";

const logitsLimit = 2e-5;
const lossLimit = 1e-5;

/** Logits [length · V] of one row of examples, packed one behind the other. */
async function rowLogits(golden: Golden, members: readonly (readonly number[])[], length: number, parameters: readonly Parameter[]): Promise<Float32Array> {
  const { backend, folder, weights } = golden.model;
  const tokens: InputSpec = { shape: [1, length], dtype: "int32" };
  const graph = await compile(backend, [tokens, tokens, tokens, ...parameters.map(({ shape }): InputSpec => ({ shape, dtype: "float32" }))], (ids, positions, segments, ...lora) => {
    assert.ok(ids && positions && segments);
    return [logitsOf(hiddenStates(ids, positions, segments, weights, toLora(parameters, lora, 1), folder.config), weights, folder.config)];
  });
  // A packed row holds every token but the last of an example, which is only ever a target.
  const batch = toBatch([members.map((ids) => ({ ids: [...ids, 0], trained: [...ids, 0].map(() => true) }))], 1, length);
  const [logits] = await graph.run([batch.tokens, batch.positions, batch.segments, ...parameters.map(({ values }) => values)]);
  await graph.close();
  return logits as Float32Array;
}

async function loraOf(golden: Golden, kind: "base" | "adapter"): Promise<Parameter[]> {
  return kind === "base" ? [] : adapterParameters(await readAdapter(golden.adapterFolder, golden.model.folder.config));
}

/** Loss of each example, packed into rows of one length. */
async function lossesOf(golden: Golden, parameters: readonly Parameter[], shape: { rows: number; length: number }, examples: readonly Example[]): Promise<number[]> {
  const { model } = golden;
  const loss = await createLossFunction(model.backend, parameters, (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, 1) }), model.folder.config, shape);
  const results = await evaluate(examples, shape, (batch) => loss.run(batch));
  await loss.compiled.close();
  return results.map((entry) => entry?.loss ?? NaN);
}

for (const name of cases) {
  for (const [kind, prefix] of [["base", "logits"], ["adapter", "adapter.logits"]] as const) {
    test(`${name}, ${kind}: logits of each sequence`, async (t) => {
      const golden = await openGolden(name);
      const parameters = await loraOf(golden, kind);
      const vocabulary = golden.model.folder.config.vocabSize;
      const close = new Closeness(logitsLimit);
      for (const [at, ids] of golden.sequences.entries()) {
        const expected = tensorOf(golden, `${prefix}.${at}`).values;
        const logits = await rowLogits(golden, [ids], ids.length + 3, parameters);
        close.check(`sequence ${at}`, logits.subarray(ids.length * vocabulary - expected.length, ids.length * vocabulary), expected);
      }
      close.report(t);
    });

    test(`${name}, ${kind}: logits of all sequences packed into one row are those of each alone`, async (t) => {
      const golden = await openGolden(name);
      const vocabulary = golden.model.folder.config.vocabSize;
      const used = golden.sequences.reduce((sum, ids) => sum + ids.length, 0);
      const logits = await rowLogits(golden, golden.sequences, used + 5, await loraOf(golden, kind));
      const close = new Closeness(logitsLimit);
      let end = 0;
      for (const [at, ids] of golden.sequences.entries()) {
        end += ids.length * vocabulary;
        const expected = tensorOf(golden, `${prefix}.${at}`).values;
        close.check(`sequence ${at}`, logits.subarray(end - expected.length, end), expected);
      }
      close.report(t);
    });

    test(`${name}, ${kind}: losses under the assistant's mask, each example alone and several in one row`, async (t) => {
      const golden = await openGolden(name);
      const parameters = await loraOf(golden, kind);
      const close = new Closeness(lossLimit);
      assert.equal(packSequences(golden.examples, 80).length, 1, "all three fit in one row");
      assert.equal(packSequences(golden.examples, 41).length, 2, "the second and third share a row");
      const alone: readonly Example[][] = golden.examples.map((example) => [example]);
      for (const [how, shape, groups] of [["alone", { rows: 1, length: 39 }, alone], ["in one row", { rows: 1, length: 80 }, [golden.examples]], ["in two rows", { rows: 2, length: 41 }, [golden.examples]]] as const) {
        const losses: number[] = [];
        for (const group of groups) losses.push(...(await lossesOf(golden, parameters, shape, group)));
        losses.forEach((loss, at) => close.check(`example ${at} ${how}`, loss, golden[kind].losses[at] ?? NaN));
      }
      close.report(t);
    });
  }
}
