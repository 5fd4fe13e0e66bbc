import assert from "node:assert/strict";
import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { startControl } from "../../services/control/control.ts";
import type { ControlOptions } from "../../services/control/context.ts";
import { enqueueFineTune, newRunId } from "../../shared/events/queues.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import type { Run } from "../../shared/runs/run.ts";
import { writeRun } from "../../shared/runs/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { apiKey, Bench } from "../trainer/support/bench.ts";
import { openEvents } from "./support.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

interface LogBench {
  readonly on: Bench;
  readonly run: Run;
  readonly url: string;
  readonly control: string;
  readonly log: (...messages: string[]) => Promise<void>;
  readonly end: () => Promise<void>;
}

async function bench(t: TestContext, options: Partial<ControlOptions> = {}): Promise<LogBench> {
  const on = await Bench.open(redis.url);
  t.after(() => on.close());
  const { url } = on.closing(await startControl(on.settings, silentLogger, { logPollMs: 10, ...options }));
  const job = { runId: newRunId(), domain: "technical", reason: "manual" as const, force: false, overrides: {}, requestedAt: 1 };
  const run: Run = { ...queuedRun(job, runSettings(on.settings)), state: "running", attempt: 1, startedAt: 1 };
  await writeRun(on.paths.runs, run);
  const file = join(on.paths.runs, run.id, "log.jsonl");
  return {
    on,
    run,
    control: url,
    url: `${url}/runs/${run.id}/logs`,
    log: (...messages) => appendFile(file, messages.map((message) => `${JSON.stringify({ at: 1, level: "info", attempt: 1, message })}\n`).join("")),
    end: () => writeRun(on.paths.runs, { ...run, state: "rejected", finishedAt: 2 }),
  };
}

test("lines come as they are written, each with its number; the end comes when the run has ended", async (t) => {
  const { url, log, end } = await bench(t);
  await log("one", "two");
  const client = await openEvents(url, apiKey);
  assert.equal(client.status, 200);
  await until("two lines", () => client.events.length === 2);
  await log("three");
  await until("three lines", () => client.events.length === 3);
  await log("four");
  await end();
  await client.ended;
  assert.deepEqual(client.events.map(({ id, event, data }) => [id, event, data["message"] ?? data["state"]]), [
    ["1", "log", "one"],
    ["2", "log", "two"],
    ["3", "log", "three"],
    ["4", "log", "four"],
    ["5", "end", "rejected"],
  ]);
});

test("a client that is cut off again and again loses nothing and gets nothing twice", async (t) => {
  const { url, log, end } = await bench(t);
  const got: string[] = [];
  let last: string | undefined;
  for (let round = 1; round <= 12; round++) {
    const client = await openEvents(url, apiKey, last);
    await log(`a${round}`, `b${round}`);
    await until("a new line", () => client.events.length > 0);
    client.cut();
    await client.ended;
    for (const event of client.events) got.push(event.id);
    last = got.at(-1);
  }
  await end();
  const client = await openEvents(url, apiKey, last);
  await client.ended;
  for (const event of client.events) got.push(event.id);
  assert.deepEqual(got, Array.from({ length: 25 }, (_, index) => String(index + 1)));
  // Whoever has seen the end is told to stay away.
  assert.equal((await openEvents(url, apiKey, "25")).status, 204);
  // What is no number means: from the beginning.
  const confused = await openEvents(url, apiKey, "yesterday");
  await confused.ended;
  assert.equal(confused.events.length, 25);
});

test("a quiet stream sends comments, and a client that leaves is counted off", async (t) => {
  const { url, control } = await bench(t, { heartbeatMs: 30 });
  const client = await openEvents(url, apiKey);
  await until("two heartbeats", () => client.comments.length >= 2);
  const open = async () => /everlora_sse_clients\{service="control"\} (\d+)/.exec(await (await fetch(`${control}/metrics`, { headers: { "x-api-key": apiKey } })).text())?.[1];
  assert.equal(await open(), "1");
  client.cut();
  await until("the client to be counted off", async () => (await open()) === "0");
});

test("without text/event-stream the log is JSON, in pages", async (t) => {
  const { url, log } = await bench(t);
  await log("one", "two", "three");
  const headers = { "x-api-key": apiKey };
  const all = (await (await fetch(url, { headers })).json()) as { data: { id: number; message: string }[]; ended: boolean; more: boolean };
  assert.deepEqual([all.data.map((line) => [line.id, line.message]), all.ended, all.more], [[[1, "one"], [2, "two"], [3, "three"]], false, false]);
  const page = (await (await fetch(`${url}?after=1&limit=1`, { headers })).json()) as typeof all;
  assert.deepEqual([page.data.map((line) => line.id), page.more], [[2], true]);
  assert.equal((await fetch(`${url}?limit=-1`, { headers })).status, 400);
});

test("a run that only waits in the queue has a stream, too, and one that isn't there has none", async (t) => {
  const { on, control } = await bench(t);
  const { runId } = await enqueueFineTune(on.queue, { domain: "legal", reason: "manual" });
  const client = await openEvents(`${control}/runs/${runId}/logs`, apiKey);
  assert.equal(client.status, 200);
  await mkdir(join(on.paths.runs, runId), { recursive: true });
  await appendFile(join(on.paths.runs, runId, "log.jsonl"), `${JSON.stringify({ at: 1, level: "info", attempt: 1, message: "begun" })}\n`);
  await until("its first line", () => client.events.length === 1);
  const none = await openEvents(`${control}/runs/run-00000000-000000/logs`, apiKey);
  assert.equal(none.status, 404);
  client.cut();
});
