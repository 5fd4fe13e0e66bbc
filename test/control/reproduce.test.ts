import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import { startControl } from "../../services/control/control.ts";
import { fineTuneJobSchema, newRunId } from "../../shared/events/queues.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import type { Run } from "../../shared/runs/run.ts";
import { writeRun } from "../../shared/runs/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { apiKey, Bench } from "../trainer/support/bench.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

async function bench(t: TestContext, environment: Record<string, string> = {}) {
  const on = await Bench.open(redis.url, {}, environment);
  t.after(() => on.close());
  const control = on.closing(await startControl(on.settings, silentLogger));
  const reproduce = async (id: string) => {
    const response = await fetch(`${control.url}/runs/${id}/reproduce`, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: "{}" });
    return { status: response.status, body: (await response.json()) as { id?: string; reproduces?: string; error?: { code: string; hint: string } } };
  };
  const record = async (fields: Partial<Run>): Promise<Run> => {
    const job = { runId: newRunId(), domain: "technical", reason: "manual" as const, force: false, overrides: {}, requestedAt: 1 };
    const run: Run = { ...queuedRun(job, runSettings(on.settings)), attempt: 1, startedAt: 1, finishedAt: 2, ...fields };
    await writeRun(on.paths.runs, run);
    return run;
  };
  return { on, reproduce, record };
}

const dataset: Run["dataset"] = { rows: 4, train: 2, heldOut: 2, sha256: "0".repeat(64), rowIds: [], dropped: {}, from: 1, to: 2, trainedTokenShare: 0.5 };

test("a run that made an adapter is done again by a job that names it; a second one waits for the first", async (t) => {
  const { on, reproduce, record } = await bench(t);
  const run = await record({ state: "rejected", dataset });
  const answer = await reproduce(run.id);
  assert.equal(answer.status, 202);
  assert.equal(answer.body.reproduces, run.id);
  const job = fineTuneJobSchema.parse((await on.queue.getJob(answer.body.id ?? ""))?.data);
  assert.deepEqual([job.reproduces, job.domain, job.force], [run.id, "technical", true]);
  const second = await reproduce(run.id);
  assert.deepEqual([second.status, second.body.error?.code], [409, "job_exists"]);
});

test("a run that made none, one that there isn't, and a house that doesn't train are refused", async (t) => {
  const { reproduce, record } = await bench(t);
  for (const fields of [{ state: "failed" as const, dataset }, { state: "cancelled" as const }, { state: "running" as const, dataset }]) {
    const { status, body } = await reproduce((await record(fields)).id);
    assert.deepEqual([status, body.error?.code], [409, "conflict"], fields.state);
  }
  assert.equal((await reproduce(newRunId())).status, 404);
  const off = await bench(t, { ENABLE_FINE_TUNING: "false" });
  const refused = await off.reproduce((await off.record({ state: "published", dataset })).id);
  assert.deepEqual([refused.status, refused.body.error?.code], [409, "fine_tuning_disabled"]);
});
