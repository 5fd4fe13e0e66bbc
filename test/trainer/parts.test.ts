import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { gitCommit } from "../../services/trainer/fingerprint.ts";
import type { Start } from "../../services/trainer/run/protocol.ts";
import { takeSnapshot } from "../../services/trainer/run/snapshot.ts";
import { adapterBytes, explainWriteError, requireSpace } from "../../services/trainer/run/space.ts";
import { Stop } from "../../services/trainer/stop.ts";
import { appendRows } from "../../shared/datasets/rows.ts";
import { newRunId } from "../../shared/events/queues.ts";
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
    ranOutOfMemory: false,
    minExamples: 4,
    window: { from: 1_000, to: 2_000 },
    dataset: null,
    generalTolerance: 0.1,
    threads: 1,
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
