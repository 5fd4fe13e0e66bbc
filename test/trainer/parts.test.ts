import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { gitCommit } from "../../services/trainer/fingerprint.ts";
import type { Start } from "../../services/trainer/run/protocol.ts";
import { takeSnapshot } from "../../services/trainer/run/snapshot.ts";
import { adapterBytes, explainWriteError, requireSpace } from "../../services/trainer/run/space.ts";
import { Stop } from "../../services/trainer/stop.ts";
import { appendRows } from "../../shared/datasets/rows.ts";
import { environmentOf, loadSettings } from "../../shared/config/settings.ts";
import { newRunId, trainingOverridesSchema, type TrainingOverrides } from "../../shared/events/queues.ts";
import { runSettings } from "../../shared/runs/new_run.ts";
import { runSettingsSchema } from "../../shared/runs/run.ts";
import { row } from "./support/bench.ts";

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "everlora-parts-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function start(data: string, fields: Partial<Start> = {}): Start {
  return {
    type: "start",
    runId: newRunId(),
    domain: "technical",
    settings: runSettingsSchema.parse({ rank: 8, alpha: 16, epochs: 1, learningRate: 1e-4, sequenceLength: 64, batchSize: 1, seed: 1 }),
    checkpoints: { seconds: 0, steps: 0 },
    reproduces: null,
    ranOutOfMemory: false,
    minExamples: 4,
    window: { from: 1_000, to: 2_000 },
    dataset: null,
    generalTolerance: 0.1,
    threads: 1,
    device: "cpu",
    paths: { runs: join(data, "runs"), loras: join(data, "loras"), trainingData: join(data, "training_data"), baseModel: data, generalSet: data, compiled: data },
    live: null,
    trainers: "",
    spareBytes: 0,
    ...fields,
  };
}

test("a snapshot counts what it leaves out, and later rows change nothing for the next attempt", async (t) => {
  const data = await folder(t);
  const order = start(data);
  const rows = Array.from({ length: 8 }, (_, number) => row("technical", number, 1_500));
  await appendRows(order.paths.trainingData, "technical", [...rows, { ...row("legal", 1, 1_500) }, row("technical", 20, 999), row("technical", 21, 2_001), rows[0] ?? row("technical", 0, 1_500)]);
  await writeFile(join(order.paths.trainingData, "technical", "rows.jsonl"), "torn {", { flag: "a" });
  const first = await takeSnapshot(order, join(data, "run"));
  assert.deepEqual([first.dataset.rows, first.dataset.train, first.dataset.heldOut, first.dataset.dropped], [8, 6, 2, { other_domain: 1, outside_window: 2, duplicate: 1, unreadable: 1 }]);

  await appendRows(order.paths.trainingData, "technical", [row("technical", 30, 1_500)]);
  const again = await takeSnapshot({ ...order, dataset: first.dataset }, join(data, "run"));
  assert.deepEqual(again, first);
  // A copy that is not the one of the record is taken anew.
  await writeFile(join(data, "run", "dataset.jsonl"), "");
  assert.equal((await takeSnapshot({ ...order, dataset: first.dataset }, join(data, "run"))).dataset.rows, 9);
});

test("rows that were erased after the first attempt don't come back in the next one", async (t) => {
  const data = await folder(t);
  const order = start(data);
  const rows = Array.from({ length: 12 }, (_, number) => row("technical", number, 1_500));
  await appendRows(order.paths.trainingData, "technical", rows);
  const first = await takeSnapshot(order, join(data, "run"));
  const path = join(order.paths.trainingData, "technical", "rows.jsonl");
  await writeFile(path, (await readFile(path, "utf8")).split("\n").filter((line) => !line.includes(rows[0]?.id ?? "?")).join("\n"));
  const again = await takeSnapshot({ ...order, dataset: first.dataset }, join(data, "run"));
  assert.deepEqual(again.dataset.rowIds, rows.slice(1).map(({ id }) => id));
  assert.notEqual(again.dataset.sha256, first.dataset.sha256);
  assert.ok(!(await readFile(join(data, "run", "dataset.jsonl"), "utf8")).includes(rows[0]?.id ?? "?"));
});

test("a snapshot of too little says how much there is", async (t) => {
  const data = await folder(t);
  const order = start(data);
  await assert.rejects(takeSnapshot(order, join(data, "run")), { code: "too_few_examples", message: /has 0 rows in the window and needs 4/ });
  await appendRows(order.paths.trainingData, "technical", [3, 7, 11, 15].map((number) => row("technical", number, 1_500)));
  await assert.rejects(takeSnapshot(order, join(data, "run")), { code: "too_few_examples", message: /0 rows to train on and 4 to test with/ });
});

test("space: asked before the work, and named when a write fails for it", async (t) => {
  const data = await folder(t);
  await requireSpace(data, 1);
  await assert.rejects(requireSpace(data, 2 ** 62), { code: "disk_full", param: "DATA_DIR" });
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  assert.equal((explainWriteError(full, data) as { code?: string }).code, "disk_full");
  const other = new Error("other");
  assert.equal(explainWriteError(other, data), other);
  // A Llama of 30 layers, 576 wide: 7 projections, rank 16, float32.
  assert.equal(adapterBytes({ hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30 }, 16), 4 * 16 * 30 * (8 * 576 + 3 * (576 + 1536)));
  assert.equal(adapterBytes({ n_embd: 768 }, 16), 0);
});

test("the commit is read from a loose ref, a packed one, a bare HEAD, or not at all", async (t) => {
  const root = await folder(t);
  assert.equal(await gitCommit(root), null);
  const commit = "a".repeat(40);
  await mkdir(join(root, ".git", "refs", "heads"), { recursive: true });
  await writeFile(join(root, ".git", "HEAD"), "ref: refs/heads/main\n");
  assert.equal(await gitCommit(root), null); // nothing committed yet
  await writeFile(join(root, ".git", "packed-refs"), `# pack-refs with: peeled\n${"b".repeat(40)} refs/heads/other\n${commit} refs/heads/main\n`);
  assert.equal(await gitCommit(root), commit);
  await writeFile(join(root, ".git", "refs", "heads", "main"), `${"c".repeat(40)}\n`);
  assert.equal(await gitCommit(root), "c".repeat(40));
  await writeFile(join(root, ".git", "HEAD"), `${"d".repeat(40)}\n`);
  assert.equal(await gitCommit(root), "d".repeat(40));
});

test("a stop keeps its first reason and reaches late listeners", () => {
  const stop = new Stop();
  const heard: string[] = [];
  const unhear = stop.onRequest(() => heard.push("a"));
  stop.onRequest(() => heard.push("b"));
  unhear();
  stop.request("cancelled");
  stop.request("shutdown");
  stop.onRequest(() => heard.push("c"));
  assert.equal(stop.reason, "cancelled");
  assert.deepEqual(heard, ["b", "c"]);
});

test("every value of a run comes from the environment, the domain or the trigger, the last that names it; the record says what it became", () => {
  const environment = { LORA_RANK: "8", LORA_DROPOUT: "0.1", LORA_TARGETS: "attention, down_proj", TRAINING_EPOCHS: "auto", TRAINING_WARMUP: "10", TRAINING_EVALUATION: "50", TRAINING_START: "live", LORA_RSLORA: "true" };
  const settings = loadSettings(environment);
  const plain = runSettings(settings);
  assert.deepEqual([plain.rank, plain.dropout, plain.targets, plain.epochs, plain.warmUp, plain.evaluation, plain.start, plain.rankStabilised], [8, 0.1, ["attention", "down_proj"], "auto", 10, 50, "live", true]);
  assert.deepEqual(runSettingsSchema.parse(JSON.parse(JSON.stringify(plain))), plain);
  assert.deepEqual(loadSettings(environmentOf(settings)).LORA_TARGETS, ["attention", "down_proj"]);
  const chosen = runSettings(settings, { rank: 4, dropout: 0, schedule: "linear" }, { rank: 2, epochs: 5, start: "base", targets: ["mlp"] });
  assert.deepEqual([chosen.rank, chosen.dropout, chosen.schedule, chosen.epochs, chosen.start, chosen.targets], [2, 0, "linear", 5, "base", ["mlp"]]);
  // Every override reaches its value.
  const all: Required<TrainingOverrides> = { rank: 3, alpha: 5, rslora: false, dropout: 0.3, targets: ["mlp"], epochs: 7, learning_rate: 0.5, schedule: "constant", warmup: 3, weight_decay: 0.4, clip_norm: 9, sequence_length: 77, batch_size: 6, accumulation: 11, evaluation: "end", patience: 12, start: "base", replay: 0.6, gradient_checkpointing: "off", quantization: "int8", seed: 13 };
  assert.deepEqual(Object.values(runSettings(settings, all)), Object.values(all));
  for (const bad of [{ epochs: "all" }, { epochs: 0 }, { dropout: 1 }, { targets: [] }, { targets: ["q proj"] }, { schedule: "step" }, { patience: -1 }, { replay: 1.1 }, { learningRate: 1 }]) assert.ok(!trainingOverridesSchema.safeParse(bad).success, JSON.stringify(bad));
  assert.throws(() => loadSettings({ LORA_TARGETS: "q_proj,,v_proj", TRAINING_SCHEDULE: "step", LORA_DROPOUT: "1" }), /LORA_DROPOUT="1".*LORA_TARGETS="q_proj,,v_proj": must be the name of a linear layer.*TRAINING_SCHEDULE="step"/);
});

test("a record of before the settings grew still reads, with what was done then", () => {
  const old = runSettingsSchema.parse({ rank: 16, alpha: 32, epochs: 3, learningRate: 1e-4, sequenceLength: 512, batchSize: 2, seed: 17 });
  assert.deepEqual([old.schedule, old.warmUp, old.evaluation, old.dropout, old.targets, old.gradientCheckpointing], ["cosine", 0.05, "end", 0, ["all-linear"], "off"]);
});
