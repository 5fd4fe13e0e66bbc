/** Where PEFT puts an adapter, with which rank and scale, we put it too: the logits of adapters that PEFT wrote (test/golden/make_peft.py) are PEFT's. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { z } from "zod";
import { adapterParameters, openLanguageModel, toLora, type LanguageModel } from "../../shared/engine/language_model.ts";
import { hiddenStates, logitsOf } from "../../shared/models/transformer.ts";
import { readAdapter, type Adapter } from "../../shared/peft/adapter.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { Closeness, goldenFolder } from "../models/golden.ts";

const folder = join(goldenFolder, "peft");
const logits = z.array(z.number()).length(64);
const expected = z.object({ ids: z.array(z.int()), base: logits, adapters: z.record(z.string(), logits) }).parse(JSON.parse(await readFile(join(folder, "expected.json"), "utf8")));

let work = "";
let model: LanguageModel;
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-patterns-"));
  await cp(join(goldenFolder, "families", "llama3"), join(work, "model"), { recursive: true });
  for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) await cp(join(goldenFolder, "tokenizers", "toy", file), join(work, "model", file));
  model = await openLanguageModel(join(work, "model"), join(work, "compiled"), { provider: "cpu", threads: 1 });
});
after(() => rm(work, { recursive: true, force: true }));

async function lastLogits(adapter: Adapter): Promise<Float32Array> {
  const { weights, backend, folder: { config } } = model;
  const parameters = adapterParameters(adapter);
  const row: InputSpec = { shape: [1, expected.ids.length], dtype: "int32" };
  const graph = await compile(backend, [row, row, row, ...parameters.map(({ shape }): InputSpec => ({ shape, dtype: "float32" }))], (tokens, positions, segments, ...lora) => {
    assert.ok(tokens && positions && segments);
    return [logitsOf(hiddenStates(tokens, positions, segments, weights, toLora(parameters, lora, 1), config), weights, config)];
  });
  const [all] = await graph.run([Int32Array.from(expected.ids), Int32Array.from(expected.ids.keys()), new Int32Array(expected.ids.length).fill(1), ...parameters.map(({ values }) => values)]);
  await graph.close();
  return (all as Float32Array).subarray(-config.vocabSize);
}

for (const [name, wanted] of Object.entries(expected.adapters)) {
  test(`${name}: the logits of PEFT`, async (t) => {
    const found = await lastLogits(await readAdapter(join(folder, name), model.folder.config));
    const close = new Closeness(2e-5);
    close.check(name, found, wanted);
    assert.throws(() => new Closeness(1e-3).check("", found, expected.base), "the adapter must change the logits");
    close.report(t);
  });
}

/** The adapter of a case under another config. */
async function read(name: string, changes: Record<string, unknown>): Promise<Adapter> {
  const home = await mkdtemp(join(work, "changed-"));
  await cp(join(folder, name), home, { recursive: true });
  const config = JSON.parse(await readFile(join(home, "adapter_config.json"), "utf8")) as object;
  await writeFile(join(home, "adapter_config.json"), JSON.stringify({ ...config, ...changes }));
  return readAdapter(home, model.folder.config);
}
const scales = ({ modules }: Adapter) => Object.fromEntries([...modules].map(([name, { rank, scale }]) => [name.replace("model.layers.", ""), [rank, scale]]));

test("ranks and scales of single modules, as their patterns say", async () => {
  assert.deepEqual(scales(await read("patterns", {})), {
    "0.self_attn.q_proj": [4, 3 / 4],
    "0.self_attn.k_proj": [2, 3 / 2],
    "0.self_attn.v_proj": [2, 9 / 2],
    "0.self_attn.o_proj": [2, 0.5 / 2],
    "0.mlp.gate_proj": [3, 1],
    "0.mlp.up_proj": [3, 1],
    "0.mlp.down_proj": [2, 3 / 2],
    "1.self_attn.q_proj": [4, 3 / 4],
    "1.self_attn.k_proj": [2, 3 / 2],
    "1.self_attn.v_proj": [2, 3 / 2],
    "1.self_attn.o_proj": [2, 0.5 / 2],
    "1.mlp.gate_proj": [3, 1],
    "1.mlp.up_proj": [3, 1],
    "1.mlp.down_proj": [1, 3],
  });
  assert.deepEqual(scales(await read("rslora", {}))["1.self_attn.q_proj"], [2, 5 / Math.sqrt(2)]);
  assert.deepEqual(Object.keys(scales(await read("all_linear", { target_modules: "All-Linear" }))).length, 14);
  assert.deepEqual(Object.keys(scales(await read("layers", { layers_to_transform: 1, layers_pattern: null }))), ["1.self_attn.q_proj", "1.mlp.down_proj"]);
});

const refused: Record<string, [string, Record<string, unknown>, RegExp]> = {
  "an expression of Python's own": ["expression", { target_modules: ".*(?<!k)_proj" }, /the expression ".*" is not supported/],
  "an expression that names nothing": ["expression", { target_modules: "layers.*" }, /name no projection of the base model/],
  "layers with an expression": ["expression", { layers_to_transform: [0] }, /layers_to_transform together with an expression/],
  "layers that a pattern does not find": ["layers", { layers_pattern: "h" }, /name no projection of the base model/],
  "another rank by pattern": ["patterns", { rank_pattern: { q_proj: 8 } }, /layers\.0\.self_attn\.q_proj\.lora_A\.weight has shape \[4,32\], .* needs \[8,32\]/],
  "a rank of zero by pattern": ["patterns", { rank_pattern: { q_proj: 0 } }, /rank_pattern/],
  "the head": ["named", { target_modules: ["q_proj", "lm_head"] }, /target_modules cover lm_head/],
  "the embedding, by an expression": ["named", { target_modules: ".*(q_proj|embed_tokens)" }, /target_modules cover model\.embed_tokens/],
  "bare parameters": ["named", { target_parameters: ["mlp.experts.gate_up_proj"] }, /target_parameters: .*not supported/],
  "trained tokens": ["named", { trainable_token_indices: [1] }, /trainable_token_indices: .*not supported/],
  "a bias of B": ["named", { lora_bias: true }, /lora_bias: .*not supported/],
};
for (const [name, [of, changes, message]] of Object.entries(refused)) {
  test(`refused: ${name}`, async () => {
    await assert.rejects(read(of, changes), { code: "adapter_incompatible", message });
  });
}

test("an expression that would freeze a backtracking engine takes no time", async () => {
  await assert.rejects(read("expression", { target_modules: "(.*.*)*(.*.*)*x" }), { code: "adapter_incompatible", message: /name no projection/ });
});
