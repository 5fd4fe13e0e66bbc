import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import cron from "node-cron";
import { defaultOptions, type ControlContext } from "../../services/control/context.ts";
import { Schedule } from "../../services/control/schedule.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { enqueueFineTune, newRunId } from "../../shared/events/queues.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import type { RunState } from "../../shared/runs/run.ts";
import { writeRun } from "../../shared/runs/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { Bench } from "../trainer/support/bench.ts";

const day = 86_400_000;
let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

async function bench(t: TestContext, environment: Record<string, string> = {}): Promise<{ on: Bench; context: ControlContext; schedule: Schedule }> {
  const on = await Bench.open(redis.url, {}, { AUTO_TRAINING_INTERVAL: "2", TRAINING_DATA_DAYS: "365", ...environment });
  t.after(() => on.close());
  const context: ControlContext = { settings: on.settings, paths: on.paths, domains: loadDomains(), redis: on.redis, queue: on.queue, metrics: createMetrics("control"), log: silentLogger, options: defaultOptions };
  return { on, context, schedule: new Schedule(context) };
}

async function ran(on: Bench, domain: string, state: RunState, rowIds: string[]): Promise<void> {
  const job = { runId: newRunId(), domain, reason: "schedule" as const, force: false, overrides: {}, requestedAt: 1 };
  const dataset = { rows: rowIds.length, train: 1, heldOut: 2, sha256: "", rowIds, dropped: {}, from: 0, to: 1, trainedTokenShare: null };
  await writeRun(on.paths.runs, { ...queuedRun(job, runSettings(on.settings)), state, attempt: 1, startedAt: 1, finishedAt: 2, dataset });
}

test("a cycle comes an interval after the first start, adds the domains that have enough, and then not before the next interval", async (t) => {
  const { on, schedule } = await bench(t);
  const start = Date.now();
  await on.rows("technical", 20);
  await on.rows("medical", 5);
  assert.equal(await schedule.runIfDue(start), null);
  assert.equal(await schedule.runIfDue(start + 2 * day - 1), null);
  const cycle = await schedule.runIfDue(start + 2 * day);
  assert.deepEqual([cycle?.domains["technical"], cycle?.domains["medical"], cycle?.domains["legal"]], ["added", "too_few", "too_few"]);
  const [job] = await on.queue.getJobs(["waiting"]);
  assert.deepEqual([job?.data.domain, job?.data.reason, job?.data.force], ["technical", "schedule", false]);
  assert.equal(await schedule.runIfDue(start + 3 * day), null);
  assert.equal((await schedule.runIfDue(start + 4 * day))?.domains["technical"], "exists");
});

test("the count goes on over a restart", async (t) => {
  const { context, schedule } = await bench(t);
  const start = Date.now();
  await schedule.runIfDue(start);
  const restarted = new Schedule(context);
  assert.equal(await restarted.runIfDue(start + day), null);
  assert.notEqual(await restarted.runIfDue(start + 2 * day), null);
  assert.deepEqual(await new Schedule(context).describe(), { intervalDays: 2, lastCycleAt: start + 2 * day, nextCycleAt: start + 4 * day });
});

test("a domain without new rows since its last published or rejected run is left alone", async (t) => {
  const { on, schedule } = await bench(t);
  const start = Date.now();
  await schedule.runIfDue(start);
  const ids = (await on.rows("technical", 20)).map((row) => row.id);
  await ran(on, "technical", "rejected", ids);
  await ran(on, "technical", "failed", []); // says nothing about what was tried
  const legal = (await on.rows("legal", 20)).map((row) => row.id);
  await ran(on, "legal", "published", legal.slice(1));
  const cycle = await schedule.runIfDue(start + 2 * day);
  assert.deepEqual([cycle?.domains["technical"], cycle?.domains["legal"]], ["nothing_new", "added"]);
  await on.rows("technical", 1, { from: 20 });
  assert.equal((await schedule.runIfDue(start + 4 * day))?.domains["technical"], "added");
});

test("of several controls one does the cycle", async (t) => {
  const { on, context, schedule } = await bench(t);
  const start = Date.now();
  await schedule.runIfDue(start);
  await on.rows("technical", 20);
  const cycles = await Promise.all([1, 2, 3].map(() => new Schedule(context).runIfDue(start + 2 * day)));
  assert.equal(cycles.filter((cycle) => cycle !== null).length, 1);
  assert.equal(await on.queue.count(), 1);
});

test("a cycle that fails is tried again at the next tick", async (t) => {
  const { on, context, schedule } = await bench(t);
  const start = Date.now();
  await schedule.runIfDue(start);
  await on.rows("technical", 20);
  const broken = new Schedule({ ...context, queue: Object.create(context.queue, { add: { value: () => Promise.reject(new Error("Connection is closed.")) } }) as typeof context.queue });
  await broken.tick(start + 2 * day);
  assert.equal((await context.metrics.cronRuns.get()).values.find((value) => value.labels.outcome === "failed")?.value, 1);
  assert.equal((await schedule.runIfDue(start + 2 * day))?.domains["technical"], "added");
});

test("a damaged state begins the interval anew and says so; 0 and ENABLE_FINE_TUNING=false switch it off", async (t) => {
  const { on, context, schedule } = await bench(t);
  const start = Date.now();
  await mkdir(on.paths.state, { recursive: true });
  await writeFile(join(on.paths.state, "schedule.json"), "{");
  assert.equal(await schedule.runIfDue(start), null);
  assert.deepEqual(JSON.parse(await readFile(join(on.paths.state, "schedule.json"), "utf8")), { version: 1, lastCycleAt: start });
  for (const off of [{ AUTO_TRAINING_INTERVAL: 0 }, { ENABLE_FINE_TUNING: false }]) {
    const silent = new Schedule({ ...context, settings: { ...on.settings, ...off } });
    assert.equal(await silent.runIfDue(start + 100 * day), null);
    assert.equal(await silent.describe(), null);
    await silent.start();
    await silent.stop();
  }
  // A job that is there already is not an error.
  await on.rows("technical", 20);
  await enqueueFineTune(on.queue, { domain: "technical", reason: "manual" });
  assert.equal((await schedule.runIfDue(start + 2 * day))?.domains["technical"], "exists");
});

test("a stopped cron keeps nothing running", async (t) => {
  const { schedule } = await bench(t);
  await schedule.start();
  assert.equal(cron.getTasks().size, 1);
  await schedule.stop();
  assert.equal(cron.getTasks().size, 0);
});
