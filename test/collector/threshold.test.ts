import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { Worker } from "bullmq";
import { createThreshold, type Threshold } from "../../services/collector/threshold/threshold.ts";
import { Tally } from "../../services/collector/store/tally.ts";
import type { Domain } from "../../shared/domains/domains.ts";
import { fineTuneJobSchema, fineTuneQueue, openFineTuneQueue, type FineTuneQueue } from "../../shared/events/queues.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { newFolder } from "./support.ts";

describe("the threshold", () => {
  let server: TestRedis;
  let redis: Redis;
  let queue: FineTuneQueue;
  let folder: Awaited<ReturnType<typeof newFolder>>;
  let tally: Tally;
  let clock = 0;
  const metrics = createMetrics("collector");
  const legal: Domain = { name: "legal", description: "", keywords: {} };

  before(async () => {
    server = await startRedis();
    redis = await openRedis(server.url, "failFast", silentLogger);
    queue = openFineTuneQueue(redis);
    queue.on("error", () => undefined);
  });
  beforeEach(async () => {
    await redis.flushall();
    folder = await newFolder();
    tally = new Tally();
    clock = Date.now() - 100_000;
  });
  after(async () => {
    await queue.close();
    redis.disconnect();
    await server.stop();
  });
  const open = (change: { enabled?: boolean; domain?: Domain; days?: number; minExamples?: number } = {}): Promise<Threshold> =>
    createThreshold({ enabled: change.enabled ?? true, domains: [change.domain ?? legal], minExamples: change.minExamples ?? 10, days: change.days ?? 30, trainingData: folder.path, tallies: () => new Map([["legal", tally]]), queue, metrics, log: silentLogger });
  /** One batch of rows, every fifth held out. */
  const collect = (count: number, createdAt = Date.now() - 1_000) => {
    clock += 1_000;
    for (let number = 0; number < count; number++) tally.addRow({ createdAt, collectedAt: clock, split: tally.counts.rows % 5 === 0 ? "held-out" : "train" });
  };
  const jobs = async () => (await queue.getJobs(["waiting", "active"])).map(({ data }) => fineTuneJobSchema.parse(data));
  const finishJobs = () => queue.obliterate({ force: true });

  it("asks once when there are enough rows, and not before", async () => {
    const threshold = await open();
    collect(9);
    await threshold.evaluate();
    assert.deepEqual(await jobs(), []);
    collect(1);
    await threshold.evaluate();
    const [job, ...others] = await jobs();
    assert.deepEqual(others, []);
    assert.deepEqual({ ...job, runId: "", requestedAt: 0 }, { runId: "", domain: "legal", reason: "threshold", force: false, overrides: {}, requestedAt: 0 });
    assert.equal(threshold.last.get("legal")?.runId, job?.runId);
    await folder.remove();
  });

  it("asks again only for half as many new rows, also after a restart", async () => {
    collect(12);
    await (await open()).evaluate();
    await finishJobs();
    const again = await open();
    await again.evaluate();
    collect(4);
    await again.evaluate();
    assert.deepEqual(await jobs(), []);
    collect(1);
    await again.evaluate();
    assert.equal((await jobs()).length, 1);
    assert.equal(again.last.get("legal")?.rows, 17);
    await folder.remove();
  });

  it("counts the window only, and wants rows to test with", async () => {
    const threshold = await open();
    collect(20, Date.now() - 31 * 86_400_000);
    await threshold.evaluate();
    assert.deepEqual(threshold.countsOf(legal), { rows: 0, train: 0, heldOut: 0, needed: 10 });
    for (let number = 0; number < 20; number++) tally.addRow({ createdAt: Date.now() - 1_000, collectedAt: clock, split: number === 0 ? "held-out" : "train" });
    await threshold.evaluate();
    assert.deepEqual(await jobs(), [], "one held-out row can't test an adapter");
    tally.addRow({ createdAt: Date.now() - 1_000, collectedAt: clock, split: "held-out" });
    await threshold.evaluate();
    assert.equal((await jobs()).length, 1);
    await folder.remove();
  });

  it("goes by the domain's own number", async () => {
    const threshold = await open({ domain: { ...legal, minExamples: 6 } });
    collect(6);
    await threshold.evaluate();
    assert.equal((await jobs()).length, 1);
    await folder.remove();
  });

  it("asks for nothing when fine-tuning is off", async () => {
    collect(50);
    await (await open({ enabled: false })).evaluate();
    assert.deepEqual(await jobs(), []);
    await folder.remove();
  });

  it("keeps the rows for later when the queue is away, and asks when it is back", async () => {
    const threshold = await open();
    collect(10);
    const back = once(redis, "ready");
    redis.disconnect(true);
    await threshold.evaluate();
    assert.equal(threshold.last.size, 0);
    await back;
    await threshold.evaluate();
    assert.equal((await jobs()).length, 1);
    await folder.remove();
  });

  it("takes a job that has not begun for its own, and waits for one that began without these rows", async () => {
    collect(10);
    const threshold = await open();
    await queue.add("legal", { runId: "run-manual-0001", domain: "legal", reason: "manual", force: false, overrides: {}, requestedAt: 1 }, { jobId: "run-manual-0001", deduplication: { id: "legal" } });
    await threshold.evaluate();
    assert.equal(threshold.last.get("legal")?.runId, "run-manual-0001");

    // The job begins; rows come after that; they are asked for when it has ended.
    let finish: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (finish = resolve));
    const connection = await openRedis(server.url, "patient", silentLogger);
    const worker = new Worker(fineTuneQueue, () => ended, { connection, maxStalledCount: 1 });
    worker.on("error", () => undefined);
    await new Promise((resolve) => worker.once("active", resolve));
    clock = Date.now() + 5_000;
    collect(8);
    await threshold.evaluate();
    assert.equal(threshold.last.get("legal")?.rows, 10, "the running job does not see the new rows");
    const completed = new Promise((resolve) => worker.once("completed", resolve));
    await worker.pause(true);
    finish();
    await completed;
    await threshold.evaluate();
    assert.deepEqual((await jobs()).map(({ reason }) => reason), ["threshold"]);
    assert.equal(threshold.last.get("legal")?.rows, 18);
    await worker.close();
    connection.disconnect();
    await folder.remove();
  });

  it("asks anew when its file is damaged", async () => {
    await mkdir(join(folder.path, "legal"), { recursive: true });
    await writeFile(join(folder.path, "legal", "trigger.json"), '{"version": 1, "at"');
    collect(10);
    const threshold = await open();
    await threshold.evaluate();
    assert.equal((await jobs()).length, 1);
    await folder.remove();
  });
});
