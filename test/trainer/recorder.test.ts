import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Recorder } from "../../services/trainer/recorder.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { newRunId } from "../../shared/events/queues.ts";
import { LineReader, readLines } from "../../shared/runs/lines.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import { checkpointFile, logLineSchema, stepMetricSchema, type Run, type StepMetric } from "../../shared/runs/run.ts";
import { findRun, lastRun, listRuns, readRun, runFolder, writeRun } from "../../shared/runs/store.ts";

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "everlora-runs-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function newRun(fields: Partial<Run> = {}): Run {
  const job = { runId: fields.id ?? newRunId(), domain: fields.domain ?? "technical", reason: "manual" as const, force: false, overrides: {}, requestedAt: 1 };
  return { ...queuedRun(job, runSettings(loadSettings({}))), state: "running", attempt: 1, ...fields };
}

const metric = (step: number): StepMetric => ({ step, epoch: 1, loss: 2, learningRate: 1e-4, gradientNorm: 1, tokens: 10, trainedTokens: 5, seconds: 0.1, at: 1 });

test("no line is lost or out of order, however fast they come to both files", async (t) => {
  const runs = await folder(t);
  const recorder = await Recorder.begin(runs, newRun());
  for (let number = 1; number <= 300; number++) {
    recorder.log("info", `line ${number}`);
    recorder.metric(metric(number));
    if (number % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await recorder.flush();
  const at = runFolder(runs, recorder.run.id);
  const expected = Array.from({ length: 300 }, (_, index) => index + 1);
  assert.deepEqual((await readLines(join(at, "log.jsonl"), logLineSchema)).map((line) => line.value.message), expected.map((number) => `line ${number}`));
  assert.deepEqual((await readLines(join(at, "metrics.jsonl"), stepMetricSchema)).map((line) => line.value.step), expected);
});

test("a pen that was overtaken, or whose run has ended, writes no more", async (t) => {
  const runs = await folder(t);
  const run = newRun();
  const old = await Recorder.begin(runs, run);
  const fresh = await Recorder.begin(runs, { ...run, attempt: 2 });
  await assert.rejects(old.change({ state: "published" }), { code: "conflict", message: /overtaken by attempt 2/ });
  await fresh.change({ state: "cancelled", finishedAt: 2 });
  await assert.rejects(fresh.change({ state: "published" }), { code: "conflict", message: /ended already: cancelled/ });
  assert.equal((await readRun(runs, run.id)).state, "cancelled");
});

test("an attempt that goes on in the middle keeps the steps before; what came after is replaced, torn lines go", async (t) => {
  const runs = await folder(t);
  const run = newRun();
  const stepsOf = async () => (await readLines(join(runFolder(runs, run.id), "metrics.jsonl"), stepMetricSchema)).map(({ value }) => [value.step, value.loss]);
  const first = await Recorder.begin(runs, run);
  for (let step = 1; step <= 5; step++) first.metric(metric(step));
  await first.flush();
  await writeFile(join(runFolder(runs, run.id), "metrics.jsonl"), '{"step":6,"lo', { flag: "a" });
  const second = await Recorder.begin(runs, { ...run, attempt: 2 });
  assert.equal((await stepsOf()).length, 5); // still those of the attempt before: this one has not got that far
  for (let step = 4; step <= 6; step++) second.metric({ ...metric(step), loss: 1 });
  await second.flush();
  assert.deepEqual(await stepsOf(), [[1, 2], [2, 2], [3, 2], [4, 1], [5, 1], [6, 1]]);
  const third = await Recorder.begin(runs, { ...run, attempt: 3 });
  third.metric(metric(1));
  await third.flush();
  assert.deepEqual(await stepsOf(), [[1, 2]]);
});

test("a run that has ended has no checkpoint any more, whoever ended it", async (t) => {
  const runs = await folder(t);
  for (const [state, there] of [["running", true], ["queued", true], ["cancelled", false], ["failed", false], ["published", false], ["rejected", false]] as const) {
    const run = newRun();
    await writeRun(runs, run);
    const path = join(runFolder(runs, run.id), checkpointFile);
    await writeFile(path, "state");
    await writeRun(runs, { ...run, state });
    assert.equal(existsSync(path), there, state);
  }
});

test("a reader follows a growing file; torn and foreign lines keep their numbers", async (t) => {
  const path = join(await folder(t), "log.jsonl");
  const reader = new LineReader(path, logLineSchema);
  const line = (message: string) => JSON.stringify({ at: 1, level: "info", attempt: 1, message });
  assert.deepEqual(await reader.read(), []);
  await writeFile(path, `${line("é first")}\n{"torn\n${line("third").slice(0, 10)}`);
  assert.deepEqual((await reader.read()).map(({ id, value }) => [id, value.message]), [[1, "é first"]]);
  await writeFile(path, `${line("third").slice(10)}\n`, { flag: "a" });
  assert.deepEqual((await reader.read()).map(({ id, value }) => [id, value.message]), [[3, "third"]]);
  assert.equal(reader.lastId, 3);
  assert.deepEqual(await reader.read(), []);
});

test("runs are listed newest first, in pages, by domain and state; damaged ones are named", async (t) => {
  const runs = await folder(t);
  const ids = [1, 2, 3, 4, 5].map((number) => newRunId(Date.now() + number));
  for (const [index, id] of ids.entries()) await writeRun(runs, newRun({ id, domain: index % 2 === 0 ? "technical" : "legal", state: index < 4 ? "published" : "running" }));
  const bad = newRunId(Date.now() + 10);
  await mkdir(join(runs, bad));
  await writeFile(join(runs, bad, "run.json"), "{}");
  await mkdir(join(runs, "not a run"));
  await mkdir(join(runs, newRunId(Date.now() + 11))); // begun, no record yet

  const first = await listRuns(runs, { limit: 2 });
  assert.deepEqual(first.runs.map((run) => run.id), [ids[4], ids[3]]);
  assert.equal(first.more, true);
  assert.deepEqual(first.damaged.map((run) => run.id), [bad]);
  const second = await listRuns(runs, { limit: 3, after: ids[3] });
  assert.deepEqual(second.runs.map((run) => run.id), [ids[2], ids[1], ids[0]]);
  assert.equal(second.more, false);
  assert.deepEqual((await listRuns(runs, { limit: 10 }, { domain: "legal" })).runs.map((run) => run.id), [ids[3], ids[1]]);
  assert.equal((await lastRun(runs, "technical", ["published"]))?.id, ids[2]);
  assert.equal(await lastRun(runs, "medical"), null);
});

test("an id can't climb out of the folder, and a damaged record says where", async (t) => {
  const runs = await folder(t);
  for (const id of ["..", "../run-aaaaaaaa", "run-../../etc", "run-\0aaaaaaa", "", "RUN-AAAAAAAAAA", `run-${"a".repeat(61)}`]) {
    assert.throws(() => runFolder(runs, id), { code: "run_not_found" }, id);
    assert.equal(await findRun(runs, id), null);
  }
  const run = newRun();
  await writeRun(runs, run);
  assert.deepEqual(await readRun(runs, run.id), run);
  const path = join(runs, run.id, "run.json");
  await writeFile(path, (await readFile(path, "utf8")).replace('"attempt": 1', '"attempt": "one"'));
  await assert.rejects(readRun(runs, run.id), { code: "run_corrupted", message: /run\.json: attempt: / });
});
