/** PEFT's folder is read as PEFT means it, and the folder that training publishes is one that PEFT could have written. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { trainCausalLm } from "../../services/trainer/trainers/causal_lm.ts";
import { runSettingsSchema } from "../../shared/runs/run.ts";
import { Decoder } from "../../shared/engine/decoder.ts";
import { adapterParameters } from "../../shared/engine/language_model.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { readSafetensors, readSafetensorsHeader } from "../../shared/models/safetensors.ts";
import { encodeAdapterWeights, readAdapter } from "../../shared/peft/adapter.ts";
import { publishAdapter } from "../../shared/peft/registry.ts";
import { Closeness, goldenFolder, openGolden, tensorOf } from "../models/golden.ts";

let work = "";
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-peft-"));
});
after(() => rm(work, { recursive: true, force: true }));

const readJson = async (path: string) => JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;

async function headerOf(path: string): Promise<string[]> {
  const file = await open(path, "r");
  try {
    return (await readSafetensorsHeader(file)).map(({ name, dtype, shape }) => `${name} ${dtype} [${shape.join(",")}]`).sort();
  } finally {
    await file.close();
  }
}

/** Trains for a few steps on the toy model, by the way that a run goes, and publishes. */
async function publishTrained(name: "tied" | "untied"): Promise<string> {
  const rows = ["o rio passa perto da casa", "a tall house stands by the river", "quem mora na casa azul"].map((text, at) => ({ id: String(at), messages: [{ role: "user" as const, content: "casa?" }, { role: "assistant" as const, content: text }] }));
  const trained = await trainCausalLm({
    baseModel: join(goldenFolder, name, "model"),
    compiledFolder: join(work, name),
    train: rows,
    heldOut: rows,
    general: rows,
    settings: runSettingsSchema.parse({ rank: 4, alpha: 8, epochs: 5, learningRate: 0.02, sequenceLength: 64, batchSize: 1, seed: 1 }),
    threads: 1,
    device: "cpu",
    liveAdapter: null,
    datasetSha256: "",
    checkpoints: { load: () => Promise.resolve(null), offer: () => Promise.resolve() },
    ranOutOfMemory: false,
    onLog: () => undefined,
    onStep: () => undefined,
    signal: new AbortController().signal,
  });
  assert.ok(trained.heldOut.adapter < trained.heldOut.base, "it must have learnt something");
  return (await publishAdapter({ loras: join(work, "loras"), domain: "technical", config: trained.config, weights: trained.weights, base: trained.base, runId: `run-test-${name}`, heldOut: trained.heldOut })).folder;
}

test("an adapter that PEFT wrote: every tensor, the scale, and the logits", async (t) => {
  const golden = await openGolden("tied");
  const adapter = await readAdapter(golden.adapterFolder, golden.model.folder.config);
  assert.equal(adapter.modules.size, 14);
  const raw = await readSafetensors(join(golden.adapterFolder, "adapter_model.safetensors"));
  for (const [name, { A, B, scale }] of adapter.modules) {
    assert.equal(scale, 8 / 4);
    assert.deepEqual(A, raw.get(`base_model.model.${name}.lora_A.weight`)?.values, name);
    assert.deepEqual(B, raw.get(`base_model.model.${name}.lora_B.weight`)?.values, name);
  }
  const close = new Closeness(2e-5);
  const decoder = new Decoder(golden.model);
  for (const [at, ids] of golden.sequences.entries()) {
    const { logits } = await decoder.start(ids, adapterParameters(adapter));
    close.check(`sequence ${at}`, logits, tensorOf(golden, `adapter.logits.${at}`).values.subarray(-golden.model.folder.config.vocabSize));
  }
  close.report(t);
});

for (const name of ["tied", "untied"] as const) {
  test(`${name}: PEFT's tensors, written by us and read again, are the same tensors`, async () => {
    const { adapterFolder, model } = await openGolden(name);
    const { modules } = await readAdapter(adapterFolder, model.folder.config);
    const path = join(work, `${name}.safetensors`);
    await writeFile(path, encodeAdapterWeights(modules));
    assert.deepEqual(await headerOf(path), await headerOf(join(adapterFolder, "adapter_model.safetensors")));
    assert.deepEqual(new Map([...(await readSafetensors(path))].sort()), new Map([...(await readSafetensors(join(adapterFolder, "adapter_model.safetensors")))].sort()));
  });

  test(`${name}: a trained and published adapter has PEFT's tensor names, shapes, types and config fields`, async () => {
    const { adapterFolder } = await openGolden(name);
    const published = await publishTrained(name);
    assert.deepEqual(await headerOf(join(published, "adapter_model.safetensors")), await headerOf(join(adapterFolder, "adapter_model.safetensors")));
    const [ours, theirs] = [await readJson(join(published, "adapter_config.json")), await readJson(join(adapterFolder, "adapter_config.json"))];
    const kind = (value: unknown) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);
    for (const [field, value] of Object.entries(ours)) {
      assert.ok(Object.hasOwn(theirs, field), `PEFT's config has no ${field}`);
      assert.equal(kind(value), kind(theirs[field]), field);
      // The settings are the same, so the values are, but for the order of a set and the model's name.
      if (Array.isArray(value)) assert.deepEqual([...(value as unknown[])].sort(), [...(theirs[field] as unknown[])].sort(), field);
      else if (field !== "base_model_name_or_path") assert.deepEqual(value, theirs[field], field);
    }
  });

  test(`${name}: PEFT loads a published adapter and computes our logits`, async (t) => {
    const python = process.env["TEST_PYTHON"] ?? "python3";
    const found = spawnSync(python, ["-c", "import peft, torch, transformers"], { encoding: "utf8" });
    if (found.status !== 0) {
      const words = found.error?.message ?? found.stderr.trim().split("\n").at(-1);
      t.skip(`${python} has no PEFT (${words}); TEST_PYTHON may name one that has`);
      return;
    }
    const golden = await openGolden(name);
    const published = await publishTrained(name);
    const script = spawnSync(python, [join(goldenFolder, "load_adapter.py"), join(goldenFolder, name, "model"), published], { input: JSON.stringify(golden.sequences), encoding: "utf8", maxBuffer: 1 << 26 });
    assert.equal(script.status, 0, script.stderr);
    const [theirs = []] = JSON.parse(script.stdout) as { base: number[]; adapter: number[] }[][];
    assert.equal(theirs.length, golden.sequences.length);
    const parameters = adapterParameters(await readAdapter(published, golden.model.folder.config));
    const decoder = new Decoder(golden.model);
    const close = new Closeness(2e-5);
    for (const [at, ids] of golden.sequences.entries()) {
      const answer = theirs[at];
      assert.ok(answer !== undefined);
      close.check(`sequence ${at}, base`, (await decoder.start(ids, [])).logits, answer.base);
      close.check(`sequence ${at}, adapter`, (await decoder.start(ids, parameters)).logits, answer.adapter);
      assert.throws(() => new Closeness(1e-2).check("", answer.base, answer.adapter), "the adapter must change the logits");
    }
    close.report(t);
  });
}

/** What PEFT computes otherwise than W x + scale · B A x, though the tensors look the same (or where they don't say how they are meant). */
const variants: Readonly<Record<string, unknown>> = {
  init_lora_weights: "pissa_niter_4",
  alora_invocation_tokens: [22, 77],
  arrow_config: { top_k: 2 },
  kasa_config: { beta: 0.1 },
  layer_replication: [[0, 1], [0, 1]],
  use_bdlora: { nblocks: 2 },
  use_qalora: true,
  use_dora: true,
  fan_in_fan_out: true,
  bias: "all",
  modules_to_save: ["lm_head"],
};

for (const [field, value] of Object.entries(variants)) {
  test(`an adapter with ${field} ${JSON.stringify(value)} is refused, and the field is named`, async () => {
    const { adapterFolder, model } = await openGolden("tied");
    const folder = join(work, `variant-${field}`);
    await cp(adapterFolder, folder, { recursive: true });
    await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ ...(await readJson(join(adapterFolder, "adapter_config.json"))), [field]: value }));
    await assert.rejects(readAdapter(folder, model.folder.config), (error: unknown) => error instanceof EverloraError && error.code === "adapter_incompatible" && error.message.includes(field));
  });
}

test("initialisations that leave the base as it is are read", async () => {
  const { adapterFolder, model } = await openGolden("tied");
  const folder = join(work, "gaussian");
  await cp(adapterFolder, folder, { recursive: true });
  await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ ...(await readJson(join(adapterFolder, "adapter_config.json"))), init_lora_weights: "gaussian" }));
  assert.equal((await readAdapter(folder, model.folder.config)).modules.size, 14);
});
