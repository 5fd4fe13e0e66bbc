/** PEFT itself loads what we write, for every family and with every setting that we write, and computes our logits. Needs a Python with PEFT. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { adapterParameters, openLanguageModel, toLora, type LanguageModel } from "../../shared/engine/language_model.ts";
import type { Parameter } from "../../shared/engine/step.ts";
import { createRandom } from "../../shared/models/random.ts";
import { hiddenStates, logitsOf } from "../../shared/models/transformer.ts";
import { encodeAdapterWeights, readAdapter } from "../../shared/peft/adapter.ts";
import { createPeftConfig, type LoraSettings } from "../../shared/peft/config.ts";
import { configFile, weightsFile } from "../../shared/peft/manifest.ts";
import { allTargets, targetedModules } from "../../shared/peft/targets.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { Closeness, goldenFolder } from "../models/golden.ts";

const families = ["llama2", "llama_biased", "llama_yarn", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"];
/** One after the other with the families. */
const settings: readonly Partial<LoraSettings>[] = [
  { rankStabilised: true, dropout: 0.1 },
  { rankPattern: { "self_attn.o_proj": 1 }, alphaPattern: { "mlp.down_proj": 9 } },
  { layers: [1], dropout: 0.05 },
  { rankPattern: { "layers.0.mlp.down_proj": 5 }, rankStabilised: true },
];
const sequences = [Array.from({ length: 24 }, (_, at) => 3 + ((at * 17) % 60))];

/** The folder of a golden family, whole: some share another's weights, and all the toy tokenizer. */
async function modelFolder(name: string, work: string): Promise<string> {
  const folder = join(work, "models", name);
  const { weights } = z.object({ weights: z.string() }).parse(JSON.parse(await readFile(join(goldenFolder, "families", name, "golden.json"), "utf8")));
  // PEFT's own adapter of the golden lies inside: transformers would put it on the base.
  await cp(join(goldenFolder, "families", weights), folder, { recursive: true, filter: (path) => !path.endsWith("adapter") });
  await cp(join(goldenFolder, "families", name, "config.json"), join(folder, "config.json"));
  for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) await cp(join(goldenFolder, "tokenizers", "toy", file), join(folder, file));
  return folder;
}

async function writeAdapter(model: LanguageModel, folder: string, more: Partial<LoraSettings>): Promise<void> {
  const { config } = model.folder;
  const peft = createPeftConfig({ rank: 3, alpha: 4, targetModules: allTargets(config), baseModel: "toy", ...more });
  const random = createRandom(1);
  const normal = (length: number) => Float32Array.from({ length }, () => 0.3 * random.normal());
  const modules = new Map(targetedModules(peft, config).map(({ name, inputs, outputs, rank }) => [name, { A: normal(rank * inputs), B: normal(outputs * rank), rank, inputs, outputs }]));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, configFile), JSON.stringify(peft));
  await writeFile(join(folder, weightsFile), encodeAdapterWeights(modules));
}

async function lastLogits({ backend, weights, folder: { config } }: LanguageModel, ids: readonly number[], parameters: readonly Parameter[]): Promise<Float32Array> {
  const row: InputSpec = { shape: [1, ids.length], dtype: "int32" };
  const graph = await compile(backend, [row, row, row, ...parameters.map(({ shape }): InputSpec => ({ shape, dtype: "float32" }))], (tokens, positions, segments, ...lora) => {
    assert.ok(tokens && positions && segments);
    return [logitsOf(hiddenStates(tokens, positions, segments, weights, toLora(parameters, lora, 1), config), weights, config)];
  });
  const [all] = await graph.run([Int32Array.from(ids), Int32Array.from(ids.keys()), new Int32Array(ids.length).fill(1), ...parameters.map(({ values }) => values)]);
  await graph.close();
  return (all as Float32Array).subarray(-config.vocabSize);
}

test("PEFT loads the adapters that we write for every family, and computes our logits", async (t) => {
  const python = process.env["TEST_PYTHON"] ?? "python3";
  const found = spawnSync(python, ["-c", "import peft, torch, transformers"], { encoding: "utf8" });
  if (found.status !== 0) {
    t.skip(`${python} has no PEFT (${found.error?.message ?? found.stderr.trim().split("\n").at(-1)}); TEST_PYTHON may name one that has`);
    return;
  }
  const work = await mkdtemp(join(tmpdir(), "everlora-python-peft-"));
  try {
    const pairs: { name: string; model: LanguageModel; adapter: string }[] = [];
    for (const [at, name] of families.entries()) {
      const model = await openLanguageModel(await modelFolder(name, work), join(work, "compiled"), { provider: "cpu", threads: 1 });
      const adapter = join(work, "adapters", name);
      await writeAdapter(model, adapter, settings[at % settings.length] ?? {});
      pairs.push({ name, model, adapter });
    }
    const script = spawnSync(python, [join(goldenFolder, "load_adapter.py"), ...pairs.flatMap(({ model, adapter }) => [model.folder.folder, adapter])], { input: JSON.stringify(sequences), encoding: "utf8", maxBuffer: 1 << 26 });
    assert.equal(script.status, 0, script.stderr);
    const logits = z.array(z.number());
    const theirs = z.array(z.array(z.object({ base: logits, adapter: logits })).length(1)).length(pairs.length).parse(JSON.parse(script.stdout));
    const close = new Closeness(2e-5);
    for (const [at, { name, model, adapter }] of pairs.entries()) {
      const answer = theirs[at]?.[0];
      assert.ok(answer !== undefined);
      close.check(`${name}, base`, await lastLogits(model, sequences[0] ?? [], []), answer.base);
      close.check(`${name}, adapter`, await lastLogits(model, sequences[0] ?? [], adapterParameters(await readAdapter(adapter, model.folder.config))), answer.adapter);
      assert.throws(() => new Closeness(1e-2).check("", answer.base, answer.adapter), `${name}: the adapter must change the logits`);
    }
    close.report(t);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
});
