import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { startTrainer } from "../../services/trainer/trainer.ts";
import type { TrainerOptions } from "../../services/trainer/context.ts";
import { enqueueFineTune, newRunId, type TrainingOverrides } from "../../shared/events/queues.ts";
import { sha256 } from "../../shared/events/conversation.ts";
import { parseEntry, streams } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { publishAdapter, readLive, verifyAdapter, writeLive } from "../../shared/peft/registry.ts";
import { requestCancel } from "../../shared/runs/cancel.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import { readRun, writeRun } from "../../shared/runs/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { apiKey, Bench } from "./support/bench.ts";
import type { Behaviour } from "./support/fake_trainers.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

async function bench(t: TestContext, behaviour: Behaviour = {}, options: { trainer?: Partial<TrainerOptions> | null; environment?: Record<string, string> } = {}): Promise<Bench & { url: string }> {
  const opened = await Bench.open(redis.url, behaviour, options.environment);
  t.after(() => opened.close());
  const trainer = options.trainer === null ? null : await opened.trainer(options.trainer);
  return Object.assign(opened, { url: trainer?.url ?? "" });
}

const enqueue = async (on: Bench, domain = "technical", force = false) => (await enqueueFineTune(on.queue, { domain, reason: "manual", force })).runId;

async function adapterEvents(on: Bench) {
  return (await on.redis.xrange(streams.adapters.key, "-", "+")).map((entry) => parseEntry("adapters", entry)).map((entry) => ("payload" in entry ? entry.payload : entry.fault));
}

test("a run that beats the base publishes: folder, pointer, bell and record agree", async (t) => {
  const on = await bench(t);
  const rows = await on.rows("technical", 20);
  const id = await enqueue(on);
  const run = await on.runIn(id, "published", "failed", "rejected");
  assert.equal(run.error, null);
  assert.equal(run.state, "published");
  assert.equal(run.attempt, 1);
  assert.match(run.generation ?? "", /^[0-9a-f]{12}$/);
  // The record.
  assert.deepEqual({ rows: run.dataset?.rows, train: run.dataset?.train, heldOut: run.dataset?.heldOut, dropped: run.dataset?.dropped, share: run.dataset?.trainedTokenShare }, { rows: 20, train: 15, heldOut: 5, dropped: {}, share: 0.5 });
  assert.deepEqual(run.dataset?.rowIds, rows.map((row) => row.id));
  assert.equal(sha256(await readFile(join(on.paths.runs, id, "dataset.jsonl"))), run.dataset?.sha256);
  assert.equal(run.gate?.decision, "publish");
  assert.deepEqual(run.progress, { step: 3, steps: 3, loss: 2 });
  assert.equal(run.environment?.node, process.version);
  assert.match(run.environment?.commit ?? "", /^[0-9a-f]{40}$/);
  assert.equal(run.liveBefore, null);
  assert.ok((run.finishedAt ?? 0) >= (run.startedAt ?? Infinity));
  // The adapter.
  const manifest = await verifyAdapter(join(on.paths.loras, "technical", run.generation ?? ""));
  assert.equal(manifest.runId, id);
  assert.equal(manifest.heldOut.adapter, run.gate?.heldOut.adapter);
  const live = await readLive(on.paths.loras, "technical");
  assert.equal(live?.generation, run.generation);
  assert.equal(live?.reason, `published by ${id}`);
  assert.deepEqual(await adapterEvents(on), [{ type: "published", domain: "technical", generation: run.generation, at: run.publishedAt }]);
  // Steps and log.
  assert.deepEqual((await on.lines(id, "metrics.jsonl")).map((line) => line["step"]), [1, 2, 3]);
  assert.match(await on.logOf(id), /^Attempt 1 begins\.\n20 rows: 15 to train on, 5 to test with\.\nfake training of 15 rows\nHeld-out loss .*passed\.\nGeneral loss .*passed\.\nGeneration [0-9a-f]{12} is live\.$/);
  // The queue.
  const job = await until("the job to complete", async () => {
    const found = await on.queue.getJob(id);
    return (await found?.getState()) === "completed" ? found : null;
  });
  assert.deepEqual(job.returnvalue, { state: "published", generation: run.generation });
  // What Prometheus sees.
  const metrics = await (await fetch(`${on.url}/metrics`, { headers: { authorization: `Bearer ${apiKey}` } })).text();
  assert.match(metrics, /everlora_training_runs_total\{outcome="published",service="trainer"\} 1/);
  assert.match(metrics, /everlora_training_steps_total\{service="trainer"\} 3/);
  assert.match(metrics, /everlora_training_held_out_loss\{domain="technical",model="adapter",service="trainer"\} 2\.5/);
});

test("the next run is compared with the live adapter, and rejected when it is no better", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  const first = await on.runIn(await enqueue(on), "published");
  await until("the first job to leave", async () => (await on.queue.getJobCounts("active"))["active"] === 0);
  await on.behave({ gain: -0.01 });
  await on.rows("technical", 4, { from: 20 });
  const second = await on.runIn(await enqueue(on), "published", "rejected");
  assert.equal(second.state, "rejected");
  assert.equal(second.liveBefore, first.generation);
  assert.equal(second.gate?.reasons.length, 3);
  assert.notEqual(second.gate?.heldOut.live, null);
  assert.equal((await readLive(on.paths.loras, "technical"))?.generation, first.generation);
  assert.equal(second.generation, null);
});

test("an adapter that harms the general set is rejected and goes nowhere", async (t) => {
  const on = await bench(t, { generalHarm: 0.5 });
  await on.rows("technical", 20);
  const run = await on.runIn(await enqueue(on), "published", "rejected");
  assert.equal(run.state, "rejected");
  assert.match(run.gate?.reasons[1] ?? "", /0\.5000 worse/);
  assert.equal(await readLive(on.paths.loras, "technical"), null);
  assert.deepEqual(await adapterEvents(on), []);
});

test("too few rows, a damaged line, old rows: counted, said, and not retried", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 6);
  await on.rows("technical", 9, { from: 100, createdAt: Date.now() - 40 * 86_400_000 });
  await writeFile(join(on.paths.trainingData, "technical", "rows.jsonl"), "{not json\n", { flag: "a" });
  const id = await enqueue(on);
  const run = await on.runIn(id, "failed");
  assert.equal(run.error?.code, "too_few_examples");
  assert.match(run.error?.message ?? "", /6 rows in the window and needs 10/);
  assert.equal(run.attempt, 1);
  await until("the job to fail", async () => (await (await on.queue.getJob(id))?.getState()) === "failed");
  // With force the six are enough, and the record names what was left out.
  const forced = await on.runIn(await enqueue(on, "technical", true), "failed", "published");
  assert.equal(forced.error?.code, "too_few_examples"); // one held-out row: force can't make a test of that
  assert.match(forced.error?.message ?? "", /5 rows to train on and 1 to test with/);
  await until("the job to leave", async () => (await on.queue.getJobCounts("active"))["active"] === 0);
  await on.rows("technical", 2, { from: 6 });
  const enough = await on.runIn(await enqueue(on, "technical", true), "failed", "published");
  assert.equal(enough.state, "published");
  assert.deepEqual(enough.dataset?.dropped, { outside_window: 9, unreadable: 1 });
});

test("memory that runs out is named, with what to lower; the trainer goes on to the next run", async (t) => {
  const on = await bench(t, { throwAfterStep: 2, lastWords: "Non-zero status code returned while running MatMul node. std::bad_alloc" });
  await on.rows("technical", 20);
  const add = async (overrides: TrainingOverrides) => {
    await until("the domain to be free", async () => (await on.queue.getJobCounts("active"))["active"] === 0);
    const id = newRunId();
    await on.queue.add("technical", { runId: id, domain: "technical", reason: "manual", force: false, overrides, requestedAt: Date.now() }, { jobId: id, attempts: 3, backoff: { type: "fixed", delay: 10 }, deduplication: { id: "technical" } });
    return id;
  };
  const thrown = await on.runIn(await add({ gradient_checkpointing: "on" }), "failed");
  assert.deepEqual([thrown.error?.code, thrown.attempt], ["out_of_memory", 1]);
  // Where the trainer may choose, it tries once more with less memory.
  const chosen = await on.runIn(await add({}), "failed");
  assert.deepEqual([chosen.error?.code, chosen.attempt], ["out_of_memory", 2]);
  assert.equal(thrown.error?.message, "The training ran out of memory: 2 sequences of 512 positions were computed together.");
  assert.match(thrown.error?.hint ?? "", /^Lower TRAINING_BATCH_SIZE \(now 2; .*\), TRAINING_SEQUENCE_LENGTH \(now 512\) or LORA_RANK \(now 16\)\.$/);

  await on.behave({ dieAfterStep: 1, lastWords: "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory" });
  const died = await on.runIn(await add({ gradient_checkpointing: "off" }), "failed");
  assert.equal(died.error?.code, "out_of_memory");
  assert.match(died.error?.message ?? "", /^The run's process was ended by SIGKILL after step 1 of 3 for want of memory/);
  assert.match(died.error?.hint ?? "", /^Set GRADIENT_CHECKPOINTING=on, or lower TRAINING_BATCH_SIZE/);

  await on.behave({});
  assert.equal((await on.runIn(await add({}), "published", "failed")).state, "published");
});

test("a child that is killed is started again under the same run, and after three starts no more", async (t) => {
  const on = await bench(t, { dieAfterStep: 2 }, { trainer: {} });
  await on.rows("technical", 20);
  const id = newRunId();
  await on.queue.add("technical", { runId: id, domain: "technical", reason: "manual", force: false, overrides: {}, requestedAt: Date.now() }, { jobId: id, backoff: { type: "fixed", delay: 10 }, deduplication: { id: "technical" } });
  const run = await on.runIn(id, "failed");
  assert.equal(run.attempt, 3);
  assert.match(run.error?.message ?? "", /was ended by SIGKILL after step 2 of 3/);
  assert.deepEqual((await on.lines(id, "metrics.jsonl")).map((line) => line["step"]), [1, 2]); // of the last attempt only
  await until("the job to fail", async () => (await (await on.queue.getJob(id))?.getState()) === "failed");
  // The poison is out of the way: the domain can be trained again.
  await on.behave({});
  assert.equal((await on.runIn(await enqueue(on), "published", "failed")).state, "published");
});

test("a child that is killed once recovers", async (t) => {
  const on = await bench(t, { waitAfterStep: 2 });
  await on.rows("technical", 20);
  const id = newRunId();
  await on.queue.add("technical", { runId: id, domain: "technical", reason: "manual", force: false, overrides: {}, requestedAt: Date.now() }, { jobId: id, backoff: { type: "fixed", delay: 10 } });
  await on.stepsOf(id, 2);
  const children = (await readFile(`/proc/${process.pid}/task/${process.pid}/children`, "utf8")).trim().split(" ").map(Number);
  const child = await until("the run child", async () => {
    for (const pid of children) if ((await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).includes("run/child.ts")) return pid;
    return null;
  });
  await on.go();
  process.kill(child, "SIGKILL");
  const run = await on.runIn(id, "published", "failed");
  assert.equal(run.state, "published");
  assert.ok(run.attempt <= 2);
});

test("an error in the trainer fails the run at once, with its words", async (t) => {
  const on = await bench(t, { throwAfterStep: 1 });
  await on.rows("technical", 20);
  const run = await on.runIn(await enqueue(on), "failed");
  assert.equal(run.attempt, 1);
  assert.deepEqual({ code: run.error?.code, message: run.error?.message }, { code: "training_failed", message: "the fake trainer was told to fail" });
});

test("a training that diverges is stopped at the step and says what to change", async (t) => {
  const on = await bench(t, { divergeAtStep: 2 });
  await on.rows("technical", 20);
  const run = await on.runIn(await enqueue(on), "failed");
  assert.match(run.error?.message ?? "", /diverged at step 2: loss NaN/);
  assert.match(run.error?.hint ?? "", /LEARNING_RATE/);
  assert.equal((await on.lines(run.id, "metrics.jsonl")).length, 1);
});

test("a model of an unknown kind and a missing model folder are named", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  await writeFile(join(on.paths.baseModel, "config.json"), JSON.stringify({ model_type: "mamba" }));
  const run = await on.runIn(await enqueue(on), "failed");
  assert.equal(run.error?.code, "invalid_model_folder");
  assert.match(run.error?.message ?? "", /no trainer for model_type "mamba"/);
  await until("the job to leave", async () => (await on.queue.getJobCounts("active"))["active"] === 0);
  await rm(on.paths.baseModel, { recursive: true });
  const second = await on.runIn(await enqueue(on), "failed");
  assert.match(second.error?.message ?? "", /config\.json cannot be read: ENOENT/);
});

test("without room on the disk a run fails before it begins, with the numbers", async (t) => {
  const on = await bench(t, {}, { trainer: { spareBytes: 2 ** 60 } });
  await on.rows("technical", 20);
  const run = await on.runIn(await enqueue(on), "failed");
  assert.equal(run.error?.code, "disk_full");
  assert.match(run.error?.message ?? "", /\d+ MB free; the run needs \d+ MB/);
  assert.equal(run.attempt, 1);
});

test("cancelling ends a run that is at work, and it is not tried again", async (t) => {
  const on = await bench(t, { waitAfterStep: 2 });
  await on.rows("technical", 20);
  const id = await enqueue(on);
  await on.stepsOf(id, 2);
  await requestCancel(on.redis, id);
  const run = await on.runIn(id, "cancelled", "failed", "published");
  assert.equal(run.state, "cancelled");
  assert.equal(run.attempt, 1);
  await until("the job to fail", async () => (await (await on.queue.getJob(id))?.getState()) === "failed");
  assert.equal(await on.queue.getDeduplicationJobId("technical"), null);
});

test("a child that doesn't listen is killed after the grace", async (t) => {
  const on = await bench(t, { waitAfterStep: 2, deaf: true }, { trainer: { graceMs: 200 } });
  await on.rows("technical", 20);
  const id = await enqueue(on);
  await on.stepsOf(id, 2);
  await requestCancel(on.redis, id);
  assert.equal((await on.runIn(id, "cancelled", "failed")).state, "cancelled");
});

test("a cancel that comes before the trainer ends the run before it works", async (t) => {
  const on = await bench(t, { throwAfterStep: 1 }, { trainer: null });
  await on.rows("technical", 20);
  const id = await enqueue(on);
  await requestCancel(on.redis, id);
  await on.trainer();
  assert.equal((await on.runIn(id, "cancelled", "failed")).state, "cancelled");
});

test("a job whose run has ended is only told so: nothing is trained or published twice", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  const id = await enqueue(on);
  const run = await on.runIn(id, "published");
  const job = await until("the job to complete", async () => {
    const found = await on.queue.getJob(id);
    return (await found?.getState()) === "completed" ? found : null;
  });
  const data = job.data;
  await job.remove();
  const again = await on.queue.add("technical", data, { jobId: id });
  await until("the second delivery to complete", async () => (await (await on.queue.getJob(again.id ?? ""))?.getState()) === "completed");
  assert.deepEqual(await on.run(id), run);
  assert.equal((await adapterEvents(on)).length, 1);
});

test("a run that was cut off between storing and going live is finished, not trained again", async (t) => {
  const on = await bench(t, { throwAfterStep: 1 }, { trainer: null });
  await on.rows("technical", 20);
  const id = newRunId();
  const data = { runId: id, domain: "technical", reason: "manual" as const, force: false, overrides: {}, requestedAt: Date.now() };
  const heldOut = { base: 3, adapter: 2, rows: 5, tokens: 60 };
  const { generation } = await publishAdapter({ loras: on.paths.loras, domain: "technical", config: { r: 16 }, weights: new Uint8Array([1, 2, 3]), base: { name: "fake", sha256: "0".repeat(64) }, runId: id, heldOut });
  const gate = { decision: "publish" as const, reasons: [], heldOut: { ...heldOut, live: null }, general: { base: 3, adapter: 3, rows: 5, tokens: 100, tolerance: 0.1 } };
  await writeRun(on.paths.runs, { ...queuedRun(data, runSettings(on.settings)), state: "running", attempt: 1, startedAt: Date.now(), gate });
  await on.queue.add("technical", data, { jobId: id });
  await on.trainer();
  const run = await on.runIn(id, "published", "failed");
  assert.equal(run.state, "published");
  assert.equal(run.generation, generation);
  assert.equal(run.attempt, 2);
  assert.equal((await readLive(on.paths.loras, "technical"))?.generation, generation);
  assert.equal((await adapterEvents(on)).length, 1);
});

test("when another adapter goes live meanwhile, the comparison is made again", async (t) => {
  const on = await bench(t, { waitAfterStep: 2 });
  await on.rows("technical", 20);
  const id = newRunId();
  await on.queue.add("technical", { runId: id, domain: "technical", reason: "manual", force: false, overrides: {}, requestedAt: Date.now() }, { jobId: id, backoff: { type: "fixed", delay: 10 } });
  await on.stepsOf(id, 2);
  const other = await publishAdapter({ loras: on.paths.loras, domain: "technical", config: { r: 1 }, weights: new Uint8Array([9]), base: { name: "fake", sha256: "0".repeat(64) }, runId: "run-by-hand-000000", heldOut: { base: 3, adapter: 2, rows: 5, tokens: 60 } });
  await writeLive(on.paths.loras, "technical", { generation: other.generation, reason: "by hand" });
  await on.go();
  const run = await on.runIn(id, "published", "failed", "rejected");
  assert.equal(run.error?.message, undefined);
  assert.equal(run.state, "published");
  assert.equal(run.attempt, 2);
  assert.equal(run.liveBefore, other.generation);
  assert.equal(run.gate?.reasons.length, 3);
  assert.equal((await readLive(on.paths.loras, "technical"))?.previous, other.generation);
});

test("a live adapter whose files are damaged is not compared with, and is replaced", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  const damaged = await publishAdapter({ loras: on.paths.loras, domain: "technical", config: { r: 1 }, weights: new Uint8Array([9]), base: { name: "fake", sha256: "0".repeat(64) }, runId: "run-by-hand-000000", heldOut: { base: 3, adapter: 2, rows: 5, tokens: 60 } });
  await writeLive(on.paths.loras, "technical", { generation: damaged.generation, reason: "by hand" });
  await writeFile(join(damaged.folder, "adapter_model.safetensors"), "x");
  const run = await on.runIn(await enqueue(on), "published", "failed", "rejected");
  assert.equal(run.state, "published");
  assert.equal(run.gate?.heldOut.live, null);
  assert.match(await on.logOf(run.id), new RegExp(`live adapter ${damaged.generation} is not compared with`));
});

test("a damaged run.json is set aside and the run begins anew", async (t) => {
  const on = await bench(t, {}, { trainer: null });
  await on.rows("technical", 20);
  const id = await enqueue(on);
  await mkdir(join(on.paths.runs, id), { recursive: true });
  await writeFile(join(on.paths.runs, id, "run.json"), '{"version": 1, "id"');
  await on.trainer();
  assert.equal((await on.runIn(id, "published")).attempt, 1);
  assert.ok((await readdir(join(on.paths.runs, id))).some((name) => name.startsWith("run.json.corrupted-")));
});

test("what a crash left half-written is removed by the next attempt", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  const id = newRunId();
  const stale = [join(on.paths.runs, id, ".dataset.jsonl.tmp-abcdef"), join(on.paths.loras, "technical", ".0123456789ab.tmp-abcdef")];
  for (const path of stale) {
    await mkdir(join(path, ".."), { recursive: true });
    await writeFile(path, "half");
  }
  await on.queue.add("technical", { runId: id, domain: "technical", reason: "manual", force: false, overrides: {}, requestedAt: Date.now() }, { jobId: id });
  await on.runIn(id, "published");
  for (const path of stale) assert.equal(existsSync(path), false, path);
});

test("a run whose job is gone is not called running for ever", async (t) => {
  const on = await bench(t, {}, { trainer: null });
  const id = newRunId();
  const data = { runId: id, domain: "technical", reason: "manual" as const, force: false, overrides: {}, requestedAt: Date.now() };
  await writeRun(on.paths.runs, { ...queuedRun(data, runSettings(on.settings)), state: "running", attempt: 1, startedAt: Date.now() });
  await on.trainer();
  const run = await readRun(on.paths.runs, id);
  assert.equal(run.state, "failed");
  assert.match(run.error?.message ?? "", /no longer in the queue/);
});

test("when Redis loses the job in mid-run, the child ends and the record says so", async (t) => {
  const on = await bench(t, { waitAfterStep: 2 });
  await on.rows("technical", 20);
  const id = await enqueue(on);
  await on.stepsOf(id, 2);
  await on.redis.flushall();
  const run = await on.runIn(id, "failed", "published");
  assert.equal(run.state, "failed");
  assert.match(run.error?.message ?? "", /no longer in the queue/);
  // The trainer goes on: the next job is done.
  await on.go();
  assert.equal((await on.runIn(await enqueue(on), "published", "failed")).state, "published");
});

test("with ENABLE_FINE_TUNING=false nothing is trained", async (t) => {
  const on = await bench(t, {}, { environment: { ENABLE_FINE_TUNING: "false" } });
  await on.rows("technical", 20);
  const id = await enqueue(on);
  const ready = await fetch(`${on.url}/readyz`);
  assert.equal(ready.status, 200);
  assert.equal(await (await on.queue.getJob(id))?.getState(), "waiting");
  assert.equal(await on.queue.getWorkersCount(), 0);
});

test("overrides of the trigger and of the domain reach the run", async (t) => {
  const on = await bench(t, {}, { trainer: null });
  await on.rows("quiet", 20);
  await writeFile(join(on.settings.DATA_DIR, "domains.json"), JSON.stringify([{ name: "quiet", keywords: {}, overrides: { rank: 4, epochs: 7 } }]));
  const { runId } = await enqueueFineTune(on.queue, { domain: "quiet", reason: "manual", overrides: { epochs: 9, learning_rate: 0.01 } });
  await on.trainer();
  const { settings } = await on.runIn(runId, "published");
  assert.deepEqual({ rank: settings.rank, epochs: settings.epochs, learningRate: settings.learningRate, alpha: settings.alpha }, { rank: 4, epochs: 9, learningRate: 0.01, alpha: 32 });
});

test("the trainer's routes need the key, and a missing Redis is said", async (t) => {
  const on = await bench(t);
  assert.equal((await fetch(`${on.url}/healthz`)).status, 200);
  assert.equal((await fetch(`${on.url}/metrics`)).status, 401);
  await assert.rejects(startTrainer({ ...on.settings, REDIS_URL: undefined }, silentLogger), { code: "invalid_settings", message: /REDIS_URL is not set/ });
  await assert.rejects(startTrainer({ ...on.settings, REDIS_URL: "redis://127.0.0.1:1" }, silentLogger), { code: "redis_unavailable" });
});
