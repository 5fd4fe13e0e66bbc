import assert from "node:assert/strict";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { openLanguageModel } from "../../shared/engine/language_model.ts";
import { expectedTensors } from "../../shared/models/layout.ts";
import { openModelFolder } from "../../shared/models/folder.ts";
import { writeSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";
import { toyConfig, toyConfigJson, toyWeights, writeToyModel } from "../support/toy_model.ts";

let root = "";
let folder = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "everlora-folder-"));
});
beforeEach(async () => {
  folder = await writeToyModel(join(await mkdtemp(join(root, "case-")), "toy"));
});
after(() => rm(root, { recursive: true, force: true }));

const fault = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Error && "code" in error && error.code === "invalid_model_folder", String(error));
  assert.ok(error.message.startsWith(folder), error.message);
  assert.match(error.message, message);
  return true;
};
const weights = (tensors: ReadonlyMap<string, NamedTensor>, file = "model.safetensors") => writeFile(join(folder, file), writeSafetensors(tensors, "F32"));
const readAll = async () => (await openModelFolder(folder)).readWeights();

test("a whole folder: name, config, every tensor, and how many parameters they are", async () => {
  const model = await openModelFolder(folder);
  assert.equal(model.name, "toy");
  assert.deepEqual(model.config, toyConfig());
  const read = await model.readWeights();
  assert.deepEqual([...read], [...toyWeights(model.config)]);
  assert.equal([...read.values()].reduce((sum, { values }) => sum + values.length, 0), model.parameters);
});

test("the identity follows every file that matters, and no other", async () => {
  const { sha256 } = await openModelFolder(folder);
  await writeFile(join(folder, "README.md"), "hello");
  assert.equal((await openModelFolder(folder)).sha256, sha256);
  const seen = new Set([sha256]);
  for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
    const path = join(folder, name);
    await writeFile(path, `${await readFile(path, "utf8")} `);
    seen.add((await openModelFolder(folder)).sha256);
  }
  await weights(toyWeights(toyConfig(), 2));
  seen.add((await openModelFolder(folder)).sha256);
  await rename(join(folder, "model.safetensors"), join(folder, "other.safetensors"));
  seen.add((await openModelFolder(folder)).sha256);
  assert.equal(seen.size, 6);
});

test("weights may lie in several files", async () => {
  const all = [...toyWeights(toyConfig())];
  await weights(new Map(all.slice(0, 5)), "model-00001-of-00002.safetensors");
  await weights(new Map(all.slice(5)), "model-00002-of-00002.safetensors");
  await rm(join(folder, "model.safetensors"));
  assert.deepEqual([...(await readAll())], all);
  await weights(new Map(all.slice(4)), "model-00002-of-00002.safetensors");
  await assert.rejects(readAll(), fault(/tensor .* is in two files, one is model-00002-of-00002\.safetensors/));
});

test("a missing folder and missing files are named", async () => {
  for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
    await rename(join(folder, name), join(folder, "away"));
    await assert.rejects(openModelFolder(folder), fault(new RegExp(`: ${name.replace(".", "\\.")} is missing`)));
    await rename(join(folder, "away"), join(folder, name));
  }
  await rm(join(folder, "model.safetensors"));
  await assert.rejects(openModelFolder(folder), fault(/no \*\.safetensors file/));
  await rm(folder, { recursive: true });
  await assert.rejects(openModelFolder(folder), fault(/no such folder/));
  await writeFile(folder, "");
  await assert.rejects(openModelFolder(folder), fault(/cannot be read/));
});

const someWeight = "model.layers.1.self_attn.k_proj.weight";
const tensorFaults: Record<string, [(tensors: Map<string, NamedTensor>) => void, RegExp]> = {
  "a missing tensor": [(tensors) => tensors.delete(someWeight), /tensor model\.layers\.1\.self_attn\.k_proj\.weight is missing/],
  "a tensor of another shape": [(tensors) => tensors.set(someWeight, { shape: [16, 8], values: new Float32Array(128) }), /k_proj\.weight has shape \[16,8\], config\.json needs \[8,16\]/],
  "a tensor of another rank": [(tensors) => tensors.set(someWeight, { shape: [128], values: new Float32Array(128) }), /has shape \[128\]/],
  "a tensor with no place": [(tensors) => tensors.set("model.layers.2.mlp.up_proj.weight", { shape: [1], values: new Float32Array(1) }), /1 tensors that config\.json has no place for, the first is model\.layers\.2\.mlp\.up_proj\.weight/],
  "a bias": [(tensors) => tensors.set("model.layers.0.self_attn.q_proj.bias", { shape: [16], values: new Float32Array(16) }), /q_proj\.bias/],
};
for (const [name, [damage, message]] of Object.entries(tensorFaults)) {
  test(`refused: ${name}`, async () => {
    const tensors = toyWeights(toyConfig());
    damage(tensors);
    await weights(tensors);
    await assert.rejects(readAll(), fault(message));
  });
}

test("damaged weights are refused with their file's name", async () => {
  await writeFile(join(folder, "model.safetensors"), (await readFile(join(folder, "model.safetensors"))).subarray(0, 5_000));
  await assert.rejects(readAll(), fault(/model\.safetensors: the tensors end at byte/));
});

test("a tied head needs no tensor of its own, a stored copy of it and rotary frequencies are passed over", async () => {
  await writeToyModel(folder, { overrides: { tie_word_embeddings: true } });
  const config = toyConfig({ tie_word_embeddings: true });
  assert.ok(!expectedTensors(config).has("lm_head.weight"));
  const tensors = toyWeights(config);
  await weights(new Map([...tensors, ["lm_head.weight", { shape: [272, 16], values: new Float32Array(272 * 16) }], ["model.layers.0.self_attn.rotary_emb.inv_freq", { shape: [2], values: new Float32Array(2) }]]));
  assert.deepEqual([...(await readAll()).keys()], [...tensors.keys()]);
});

const configFaults: Record<string, [Record<string, unknown>, RegExp]> = {
  "an unknown family": [{ model_type: "mamba" }, /model_type "mamba" is not supported; supported: llama, mistral, /],
  "no family": [{ model_type: undefined }, /no model_type/],
  "a missing size": [{ hidden_size: undefined }, /hidden_size: /],
  "a size of zero": [{ num_hidden_layers: 0 }, /num_hidden_layers: /],
  "an absurd size": [{ vocab_size: 2 ** 40 }, /vocab_size: /],
  "heads that do not divide": [{ num_attention_heads: 3 }, /hidden_size 16 over num_attention_heads 3 gives no even head size/],
  "groups that do not divide": [{ num_key_value_heads: 3 }, /num_attention_heads 4 is no multiple of num_key_value_heads 3/],
  "biases that the family has not": [{ model_type: "mistral", attention_bias: true }, /attention_bias is not supported for mistral/],
  "another activation": [{ hidden_act: "gelu" }, /hidden_act "gelu" is not supported; supported: silu/],
  "a scaling of the rotation that is not known": [{ rope_scaling: { type: "ntk", factor: 8 } }, /rope_scaling of type "ntk" is not supported; supported: default, linear, dynamic, llama3, yarn, longrope/],
  "half a scaling": [{ rope_scaling: { rope_type: "llama3", factor: 8 } }, /rope_scaling: .*low_freq_factor/],
  "the same, as transformers 5 writes it": [{ rope_parameters: { rope_type: "yarn", rope_theta: 1e4 } }, /rope_scaling: .*factor/],
};
for (const [name, [overrides, message]] of Object.entries(configFaults)) {
  test(`refused: a config with ${name}`, async () => {
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...toyConfigJson, ...overrides }));
    await assert.rejects(openModelFolder(folder), fault(message));
  });
}

test("a config that is no JSON is named", async () => {
  await writeFile(join(folder, "config.json"), "{");
  await assert.rejects(openModelFolder(folder), fault(/config\.json cannot be read/));
  await writeFile(join(folder, "config.json"), "null");
  await assert.rejects(openModelFolder(folder), fault(/no model_type/));
});

test("defaults of a config: as many key heads as heads, an untied head, theta 10,000, several end tokens or none", () => {
  const bare = toyConfig({ num_key_value_heads: undefined, tie_word_embeddings: undefined, rope_theta: undefined, eos_token_id: undefined, hidden_act: undefined });
  assert.deepEqual([bare.keyValueHeads, bare.tiedHead, bare.rope.full.theta, bare.endTokens], [4, false, 10_000, []]);
  assert.deepEqual(toyConfig({ eos_token_id: [1, 2] }).endTokens, [1, 2]);
  assert.equal(toyConfig({ rope_theta: undefined, rope_parameters: { rope_type: "default", rope_theta: 5e5 } }).rope.full.theta, 5e5);
  assert.equal(toyConfig({ head_dim: 8 }).headSize, 8);
});

test("a tokenizer with more ids than the embedding has rows is refused", async () => {
  await writeToyModel(folder, { overrides: { vocab_size: 200 } });
  await assert.rejects(openLanguageModel(folder, join(root, "compiled"), { provider: "cpu", threads: 1 }), fault(/the tokenizer has ids up to 268, the embedding has 200 rows/));
});
