import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createRandom } from "../../shared/models/random.ts";
import { writeSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";
import { allTargets, encodeAdapterWeights, modulesOf, readAdapter } from "../../shared/peft/adapter.ts";
import { createPeftConfig, loraScale } from "../../shared/peft/config.ts";
import { toyConfig } from "../support/toy_model.ts";

const model = toyConfig();
const targets = ["q_proj", "down_proj"];
const rank = 2;
let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-adapter-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const random = createRandom(3);
const normal = (length: number) => Float32Array.from({ length }, () => random.normal());
const modules = new Map(modulesOf(model, targets).map(({ name, inputs, outputs }) => [name, { A: normal(rank * inputs), B: normal(outputs * rank), rank, inputs, outputs }]));
const tensors = () =>
  new Map<string, NamedTensor>(
    [...modules].flatMap(([name, { A, B, inputs, outputs }]): [string, NamedTensor][] => [
      [`base_model.model.${name}.lora_A.weight`, { shape: [rank, inputs], values: A.slice() }],
      [`base_model.model.${name}.lora_B.weight`, { shape: [outputs, rank], values: B.slice() }],
    ]),
  );
const config = createPeftConfig({ rank, alpha: 8, targetModules: targets, baseModel: "toy" });
const read = async (weights: ReadonlyMap<string, NamedTensor> | Uint8Array, json: unknown = config) => {
  await writeFile(join(folder, "adapter_model.safetensors"), weights instanceof Uint8Array ? weights : writeSafetensors(weights, "F32"));
  await writeFile(join(folder, "adapter_config.json"), typeof json === "string" ? json : JSON.stringify(json));
  return readAdapter(folder, model);
};
const firstA = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const lastB = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight";
const error = (code: string, message: RegExp) => ({ name: "EverloraError", code, message });

test("what is written is read again, bit for bit, with its scale", async () => {
  const adapter = await read(encodeAdapterWeights(modules));
  assert.deepEqual([...adapter.modules.keys()], modulesOf(model, targets).map(({ name }) => name));
  for (const [name, module] of modules) assert.deepEqual(adapter.modules.get(name), { ...module, scale: 4 });
});

test("modules are the model's projections that a target names, as a whole or by its last part", () => {
  assert.deepEqual(allTargets(model), ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]);
  assert.deepEqual(modulesOf(model, ["self_attn.k_proj"]).map(({ name, inputs, outputs }) => [name, inputs, outputs]), [["model.layers.0.self_attn.k_proj", 16, 8], ["model.layers.1.self_attn.k_proj", 16, 8]]);
  assert.deepEqual(modulesOf(model, ["proj", "attn.q_proj", "lm_head"]), []);
  assert.equal(modulesOf(model, allTargets(model)).length, 14);
});

test("rank-stabilised adapters are scaled by alpha / √r", async () => {
  assert.equal(loraScale(16, 8, true), 2);
  const { modules: stabilised } = await read(tensors(), { ...config, use_rslora: true });
  for (const { scale } of stabilised.values()) assert.equal(scale, 8 / Math.sqrt(2));
});

const damages: Record<string, [(map: Map<string, NamedTensor>) => void, string, RegExp]> = {
  "a missing tensor": [(map) => map.delete(lastB), "adapter_incompatible", /adapter_model\.safetensors lacks base_model\.model\.model\.layers\.1\.mlp\.down_proj\.lora_B\.weight/],
  "an extra tensor": [(map) => map.set("base_model.model.lm_head.lora_A.weight", { shape: [1], values: Float32Array.of(1) }), "adapter_incompatible", /1 tensors that the base model has no place for, the first is "base_model\.model\.lm_head\.lora_A\.weight"/],
  "another rank": [(map) => map.set(firstA, { shape: [3, 16], values: new Float32Array(48) }), "adapter_incompatible", /layers\.0\.self_attn\.q_proj\.lora_A\.weight has shape \[3,16\], the base model needs \[2,16\]/],
  "a turned tensor": [(map) => map.set(firstA, { shape: [16, 2], values: new Float32Array(32) }), "adapter_incompatible", /has shape \[16,2\]/],
  "a tensor of rank 1": [(map) => map.set(firstA, { shape: [32], values: new Float32Array(32) }), "adapter_incompatible", /has shape \[32\]/],
  NaN: [(map) => map.get(lastB)?.values.set([NaN], 5), "adapter_corrupted", /layers\.1\.mlp\.down_proj\.lora_B\.weight has the value NaN at element 5/],
  infinity: [(map) => map.get(firstA)?.values.set([-Infinity], 0), "adapter_corrupted", /layers\.0\.self_attn\.q_proj\.lora_A\.weight has the value -Infinity at element 0/],
  "B of zeros everywhere": [(map) => [...map].forEach(([name, { values }]) => name.includes("lora_B") && values.fill(0)), "adapter_incompatible", /every B is zero/],
};
for (const [name, [damage, code, message]] of Object.entries(damages)) {
  test(`refused: ${name}`, async () => {
    const map = tensors();
    damage(map);
    await assert.rejects(read(map), error(code, message));
  });
}

test("B of zeros in some modules is an adapter that did not need them", async () => {
  const map = tensors();
  map.get(lastB)?.values.fill(0);
  assert.equal((await read(map)).modules.size, 4);
});

const configs: Record<string, [unknown, string, RegExp]> = {
  "no JSON": ["{", "adapter_corrupted", /adapter_config\.json cannot be read/],
  "no LoRA": [{ ...config, peft_type: "IA3" }, "adapter_incompatible", /peft_type: must be LORA/],
  "rank 0": [{ ...config, r: 0 }, "adapter_incompatible", /r: /],
  "no alpha": [{ ...config, lora_alpha: undefined }, "adapter_incompatible", /lora_alpha/],
  "no target": [{ ...config, target_modules: [] }, "adapter_incompatible", /target_modules/],
  "targets that the model has not": [{ ...config, target_modules: ["c_attn"] }, "adapter_incompatible", /\["c_attn"\] name no projection of the base model/],
  "an expression that no module is called by": [{ ...config, target_modules: "q_proj" }, "adapter_incompatible", /name no projection/],
  "fewer targets than tensors": [{ ...config, target_modules: ["q_proj"] }, "adapter_incompatible", /no place for, the first is ".*down_proj/],
  "ranks that the tensors have not": [{ ...config, rank_pattern: { q_proj: 8 } }, "adapter_incompatible", /q_proj\.lora_A\.weight has shape \[2,16\], the base model needs \[8,16\]/],
  "trained biases": [{ ...config, bias: "all" }, "adapter_incompatible", /trained biases/],
  DoRA: [{ ...config, use_dora: true }, "adapter_incompatible", /DoRA/],
  "whole modules saved": [{ ...config, modules_to_save: ["lm_head"] }, "adapter_incompatible", /modules_to_save/],
};
for (const [name, [json, code, message]] of Object.entries(configs)) {
  test(`refused: a config with ${name}`, async () => {
    await assert.rejects(read(tensors(), json), error(code, message));
  });
}

test("files that are missing or no safetensors are named", async () => {
  await assert.rejects(read(Uint8Array.of(1, 2, 3)), error("adapter_corrupted", /adapter_model\.safetensors: the file has 3 bytes/));
  await rm(join(folder, "adapter_model.safetensors"));
  await assert.rejects(readAdapter(folder, model), error("adapter_corrupted", /adapter_model\.safetensors/));
  await rm(join(folder, "adapter_config.json"));
  await assert.rejects(readAdapter(folder, model), error("adapter_corrupted", /adapter_config\.json cannot be read/));
});
