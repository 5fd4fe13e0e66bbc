import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Decoder } from "../../shared/engine/decoder.ts";
import { adapterParameters, openLanguageModel, type LanguageModel } from "../../shared/engine/language_model.ts";
import type { Parameter } from "../../shared/engine/step.ts";
import { createRandom } from "../../shared/models/random.ts";
import { allTargets, modulesOf, type Adapter } from "../../shared/peft/adapter.ts";
import { createPeftConfig } from "../../shared/peft/config.ts";
import { verifyGraph } from "../../shared/tensor/verify.ts";
import { writeToyModel } from "../support/toy_model.ts";

let folder = "";
let model: LanguageModel;
let decoder: Decoder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-decoder-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const ids = Array.from({ length: 300 }, (_, at) => 4 + ((at * 37) % 200));
const near = (actual: Float32Array, expected: Float32Array, what: string) => {
  assert.equal(actual.length, expected.length);
  const worst = Math.max(...actual.map((value, at) => Math.abs(value - (expected[at] ?? NaN))));
  assert.ok(worst < 1e-4, `${what}: off by ${worst}`);
};
function adapter(seed: number, targets: readonly string[], alpha = 8): Parameter[] {
  const random = createRandom(seed);
  const normal = (length: number) => Float32Array.from({ length }, () => 0.3 * random.normal());
  const modules: Adapter["modules"] = new Map(modulesOf(model.folder.config, targets).map(({ name, inputs, outputs }) => [name, { A: normal(4 * inputs), B: normal(outputs * 4), rank: 4, scale: alpha / 4, inputs, outputs }]));
  const config = createPeftConfig({ rank: 4, alpha, targetModules: targets, baseModel: "toy" });
  return adapterParameters({ config, modules });
}

/** `full`: what the first cache of a prompt of 60 tokens has room for. */
for (const { kind, overrides, full } of [
  { kind: "heads of 4", overrides: {}, full: 64 },
  { kind: "heads of 16, whose attention writes the cache", overrides: { head_dim: 16, max_position_embeddings: 240 }, full: 192 },
]) describe(kind, () => {
  before(async () => {
    model = await openLanguageModel(await writeToyModel(join(folder, `toy ${kind}`), { overrides }), join(folder, "compiled"), { provider: "cpu", threads: 1 });
    if ("inspect" in model.backend) model.backend.inspect = verifyGraph;
    decoder = new Decoder(model);
  });

  test("token by token gives the logits that reading all at once gives, across the growth of the cache", async () => {
    for (const parameters of [[], adapter(1, allTargets(model.folder.config))]) {
      const { sequence, logits } = await decoder.start(ids.slice(0, 60), parameters);
      assert.equal(sequence.capacity, full);
      near(logits, (await decoder.start(ids.slice(0, 60), parameters)).logits, "the same prompt");
      for (let length = 60; length < full + 8; length++) {
        const next = await decoder.step(sequence, ids[length] ?? 0);
        assert.equal(sequence.length, length + 1);
        if (length % 4 === 3) near(next, (await decoder.start(ids.slice(0, length + 1), parameters)).logits, `${length + 1} tokens, ${parameters.length} adapter tensors`);
      }
      assert.ok(sequence.capacity > full);
    }
  });

  test("sequences with different adapters do not touch each other", async () => {
    const [first, second] = [adapter(1, ["q_proj", "v_proj"]), adapter(2, ["q_proj", "v_proj"])];
    const alone = await decoder.start(ids.slice(0, 9), second);
    const expected = await decoder.step(alone.sequence, 50);
    const [a, b, base] = [await decoder.start(ids.slice(0, 9), first), await decoder.start(ids.slice(0, 9), second), await decoder.start(ids.slice(0, 9), [])];
    await decoder.step(a.sequence, 50);
    await decoder.step(base.sequence, 50);
    assert.deepEqual(await decoder.step(b.sequence, 50), expected);
    assert.notDeepEqual(a.logits, b.logits);
    assert.notDeepEqual(base.logits, b.logits);
  });

  test("an adapter's alpha counts, though adapters of one shape share a graph", async () => {
    const [weak, strong] = [await decoder.start(ids.slice(0, 9), adapter(1, ["q_proj"], 4)), await decoder.start(ids.slice(0, 9), adapter(1, ["q_proj"], 16))];
    assert.notDeepEqual(weak.logits, strong.logits);
  });

  test("prompts that are empty or fill the context, and a full context, are refused", async () => {
    await assert.rejects(decoder.start([], []), { code: "invalid_request" });
    const context = decoder.contextLength;
    await assert.rejects(decoder.start(ids.slice(0, context), []), { code: "context_length_exceeded", message: new RegExp(`${context} tokens; the model's context of ${context}`) });
    const { sequence } = await decoder.start(ids.slice(0, context - 1), []);
    await decoder.step(sequence, 5);
    await assert.rejects(decoder.step(sequence, 5), { code: "context_length_exceeded" });
  });
});
