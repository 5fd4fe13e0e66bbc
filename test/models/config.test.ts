/**
 * config.json of each family: the form that is on the hub and the one that transformers 5 writes mean the same, what can't be computed is refused by
 * name, and no damage gets through as a config that contradicts itself.
 */
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { EverloraError } from "../../shared/errors/errors.ts";
import { parseConfig } from "../../shared/models/families.ts";
import { expectedTensors } from "../../shared/models/layout.ts";
import { createRandom } from "../../shared/models/random.ts";
import { frequenciesOf } from "../../shared/models/rope_config.ts";
import { goldenFolder } from "./golden.ts";
import { mutateJson } from "../support/mutate.ts";

const families = join(goldenFolder, "families");
const readConfig = async (name: string) => JSON.parse(await readFile(join(families, name, "config.json"), "utf8")) as Record<string, unknown>;
const without = (json: Record<string, unknown>, ...names: string[]) => Object.fromEntries(Object.entries(json).filter(([name]) => !names.includes(name)));

/** What the hub's files of the same models would say instead of `rope_parameters`. */
const oldForms: Record<string, Record<string, unknown>> = {
  llama3: { rope_theta: 500, rope_scaling: { rope_type: "llama3", factor: 4, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 } },
  llama_linear: { rope_theta: 500, rope_scaling: { type: "linear", factor: 2.5 } },
  llama_dynamic: { rope_theta: 500, rope_scaling: { type: "dynamic", factor: 2 } },
  llama_yarn: { rope_theta: 500, rope_scaling: { type: "yarn", factor: 3, original_max_position_embeddings: 32, beta_fast: 4, beta_slow: 1 } },
  mistral: { rope_theta: 10_000 },
  gemma2: { rope_theta: 10_000, hidden_act: "gelu_pytorch_tanh", layer_types: null },
  gemma3: { rope_theta: 5_000, rope_local_base_freq: 100, rope_scaling: { rope_type: "linear", factor: 8 } },
  phi3: { rope_theta: 500, partial_rotary_factor: 0.75, rope_scaling: { type: "su", short_factor: [1, 1.1, 1.3], long_factor: [1.2, 2, 3.5] } },
};
for (const [name, changes] of Object.entries(oldForms)) {
  test(`${name}: the old form is read as the new one`, async () => {
    const json = await readConfig(name);
    assert.deepEqual(parseConfig({ ...without(json, "rope_parameters"), ...changes }, name), parseConfig(json, name));
  });
}

test("which layers slide: as layer_types says, or as the family's older fields do", async () => {
  const gemma3 = without(await readConfig("gemma3"), "layer_types");
  assert.deepEqual(parseConfig({ ...gemma3, num_hidden_layers: 7, sliding_window_pattern: 3 }, "x").layerKinds.map((kind) => kind[0]).join(""), "ssfssfs");
  assert.equal(parseConfig({ ...gemma3, num_hidden_layers: 7 }, "x").layerKinds.indexOf("full"), 5);
  const qwen = without(await readConfig("qwen2_sliding"), "layer_types");
  assert.deepEqual(parseConfig(qwen, "x").layerKinds, ["full", "sliding"]);
  assert.deepEqual(parseConfig({ ...qwen, use_sliding_window: false }, "x").layerKinds, ["full", "full"]);
  assert.deepEqual(parseConfig({ ...(await readConfig("mistral")), sliding_window: null }, "x").window, null);
});

test("a longrope model's context ends where its angles change", async () => {
  const json = await readConfig("phi3");
  assert.equal(json["max_position_embeddings"], 96);
  assert.equal(parseConfig(json, "phi3").contextLength, 64);
});

test("llama3's and yarn's angles lie between those unscaled and those stretched throughout", async () => {
  for (const [name, factor] of [["llama3", 4], ["llama_yarn", 3]] as const) {
    const { rope } = parseConfig(await readConfig(name), name);
    const [scaled, plain] = [frequenciesOf(rope.full), frequenciesOf({ ...rope.full, scaling: { type: "default" } })];
    const ratios = [...plain].map((frequency, at) => frequency / (scaled[at] ?? NaN));
    assert.ok(ratios.every((ratio, at) => ratio >= 1 - 1e-6 && ratio <= factor + 1e-5 && ratio >= (ratios[at - 1] ?? 0) - 1e-6), `${name}: ${ratios.join(" ")}`);
    assert.ok(Math.abs((ratios.at(-1) ?? 0) - factor) < 1e-5 && Math.abs((ratios[0] ?? 0) - 1) < 1e-6, `${name}: ${ratios.join(" ")}`);
  }
});

const refused: [string, string, Record<string, unknown>, RegExp][] = [
  ["a multimodal Gemma 3", "gemma3", { model_type: "gemma3" }, /model_type "gemma3" is not supported; supported: llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3/],
  ["a mixture of experts", "mistral", { model_type: "mixtral" }, /model_type "mixtral" is not supported/],
  ["attention in both directions", "gemma2", { use_bidirectional_attention: true }, /attention in both directions is not supported/],
  ["another activation", "gemma2", { hidden_activation: "relu" }, /hidden_act "relu" is not supported; supported: silu, gelu_pytorch_tanh/],
  ["kinds of layers that are not known", "gemma2", { layer_types: ["chunked_attention", "full_attention"] }, /layer_types\.0: /],
  ["too few kinds of layers", "gemma2", { layer_types: ["full_attention"] }, /layer_types names 1 layers, num_hidden_layers is 2/],
  ["a million kinds of layers", "gemma2", { layer_types: Array.from({ length: 1_000_000 }, () => "x") }, /^.{0,300}$/],
  ["layers that slide without a window", "gemma2", { sliding_window: null, layer_types: ["sliding_attention", "full_attention"] }, /layers slide, but there is no sliding_window/],
  ["a part of each head turned", "llama3", { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.5 } }, /partial_rotary_factor 0\.5 is not supported for this family/],
  ["longrope with too few factors", "phi3", { rope_parameters: { rope_type: "longrope", short_factor: [1], long_factor: [1, 1, 1], partial_rotary_factor: 0.75 } }, /short_factor has 1 factors, half of 6 turned elements are needed/],
  ["a part of a head that is no even number", "phi3", { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.7 } }, /gives no even number of elements to turn/],
  ["proportional scaling", "llama3", { rope_parameters: { rope_type: "proportional", factor: 2 } }, /rope_scaling of type "proportional" is not supported/],
  ["biases that Phi-3 has not", "phi3", { attention_bias: true }, /attention_bias is not supported for phi3/],
];
for (const [name, of, changes, message] of refused) {
  test(`refused: ${name}`, async () => {
    const json = { ...(await readConfig(of)), ...changes };
    assert.throws(() => parseConfig(json, "a folder"), (error: unknown) => error instanceof EverloraError && error.code === "invalid_model_folder" && error.message.startsWith("a folder: ") && message.test(error.message));
  });
}

test("20,000 damaged configs: one that agrees with itself, or an EverloraError", async () => {
  const random = createRandom(5);
  const seeds = await Promise.all((await readdir(families)).map(readConfig));
  let accepted = 0;
  for (let round = 0; round < 20_000; round++) {
    let json: unknown = seeds[round % seeds.length];
    for (let times = 1 + Math.floor(random.next() * 2); times > 0; times--) json = mutateJson(json, random);
    try {
      const config = parseConfig(json, "x");
      assert.equal(config.layerKinds.length, config.layers);
      assert.equal(config.heads % config.keyValueHeads, 0);
      assert.ok(config.headSize % 2 === 0 && config.contextLength > 0 && (config.window ?? 1) > 0);
      for (const rope of Object.values(config.rope)) {
        const angles = frequenciesOf(rope);
        assert.ok(angles.length * 2 === rope.size && rope.size <= config.headSize && angles.every(Number.isFinite) && Number.isFinite(rope.magnitude), JSON.stringify(json));
      }
      assert.ok(Number.isFinite(config.scoreScale) && Number.isFinite(config.embeddingScale));
      if (round % 100 === 0) assert.ok(expectedTensors(config).size > config.layers);
      accepted++;
    } catch (error) {
      assert.ok(error instanceof EverloraError && error.code === "invalid_model_folder" && error.message.length < 2_000, `${JSON.stringify(json)}\n${String(error)}`);
    }
  }
  assert.ok(accepted > 4_000 && accepted < 18_000, `${accepted} accepted`);
});
