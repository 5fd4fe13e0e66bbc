/** Memory that runs out for real: the kernel takes it from the run, the gateway beside it answers all the while, and the run goes on when there is room again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { pathsOf } from "../../shared/config/paths.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { appendRows } from "../../shared/datasets/rows.ts";
import { finalStates } from "../../shared/runs/run.ts";
import { findRun, lastRun } from "../../shared/runs/store.ts";
import { everlora } from "../support/command_line.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryLimit } from "../support/memory_limit.ts";
import { isAlive } from "../support/processes.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { row } from "../trainer/support/bench.ts";

const apiKey = "test-key-0123456789";
/** More than the services need for a while of answering, less than a trainer's child needs to load its modules and its model. */
const roomBytes = 96 * 2 ** 20;
const upLine = z.looseObject({ msg: z.literal("everlora is up"), urls: z.object({ gateway: z.string(), control: z.string() }) });

test("a run that takes the last memory is ended for it, named so, and tried again; the gateway answers each question meanwhile", { timeout: 300_000 }, async (t) => {
  const limit = await memoryLimit();
  if (limit === null) {
    t.skip("no limit to set: control groups need root");
    return;
  }
  const folder = await temporaryFolder(t, "out of memory");
  const redis = await startRedis();
  const environment = { DATA_DIR: folder, REDIS_URL: redis.url, EVERLORA_API_KEY: apiKey, GATEWAY_PORT: "0", COLLECTOR_PORT: "0", TRAINER_PORT: "0", CONTROL_PORT: "0", ENABLE_AUTO_TRAINING: "false", GENERAL_TOLERANCE: "10", TRAINING_EPOCHS: "1", TRAINING_EVALUATION: "end" };
  const { trainingData, runs } = pathsOf(loadSettings(environment));
  await appendRows(trainingData, "technical", Array.from({ length: 24 }, (_, at) => row("technical", at, Date.now() - 60_000)));
  const up = everlora(["up", "--json"], environment);
  try {
    await limit.add(up.child.pid ?? 0);
    const line = await until(`up: ${up.stderr()}`, () => up.stdout().split("\n").find((each) => each.includes("everlora is up")));
    const { urls } = upLine.parse(JSON.parse(line));
    const post = (url: string, body: unknown) => fetch(url, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json", "cache-control": "no-store" }, body: JSON.stringify(body) });
    const ask = async (content: string) => {
      const response = await post(`${urls.gateway}/v1/chat/completions`, { model: "everlora-tiny", messages: [{ role: "user", content }], max_tokens: 8 });
      const text = await response.text();
      assert.equal(response.status, 200, `${response.status} ${text}`);
    };
    for (let at = 0; at < 20; at++) await ask(`Warm-up question ${at}`); // what is loaded on first use shall be loaded

    const services = await limit.members();
    await limit.set((await limit.used()) + roomBytes);
    assert.equal((await post(`${urls.control}/fine-tune/trigger`, { domain: "technical", force: true })).status, 202);
    let answered = 0;
    const ended = await until("the first attempt to end", async () => {
      await ask(`Question ${answered++}`);
      const run = await lastRun(runs, "technical").catch(() => null);
      return run?.error === null || run?.error === undefined ? null : run;
    }, 120_000);
    assert.equal(ended.error?.code, "out_of_memory", ended.error?.message ?? "");
    assert.match(ended.error.message, /was ended by SIGKILL .* for want of memory/);

    await limit.set(64 * 2 ** 30);
    const run = await until("the run's end", async () => {
      await ask(`Question ${answered++}`);
      const now = await findRun(runs, ended.id);
      return now !== null && finalStates.includes(now.state) && now;
    }, 120_000);
    assert.equal(run.state, "published", run.error?.message ?? run.gate?.reasons.join(" ") ?? "");
    assert.ok(run.attempt >= 2);
    assert.deepEqual(services.filter((pid) => !isAlive(pid)), [], "no service, no engine was taken in the run's place");
  } finally {
    up.child.kill("SIGTERM");
    await up.ended;
    await redis.stop();
    await limit.remove();
  }
});
