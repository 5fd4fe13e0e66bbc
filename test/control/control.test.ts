import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { startControl } from "../../services/control/control.ts";
import type { ControlOptions } from "../../services/control/context.ts";
import { newRunId } from "../../shared/events/queues.ts";
import { parseEntry, streams } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { publishAdapter, readLive, writeLive } from "../../shared/peft/registry.ts";
import { cancelRequested } from "../../shared/runs/cancel.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import type { Run } from "../../shared/runs/run.ts";
import { writeRun } from "../../shared/runs/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { apiKey, Bench } from "../trainer/support/bench.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

type Json = Record<string, unknown>;
interface Answer {
  readonly status: number;
  readonly body: Json;
  readonly error: Json;
}

interface ControlBench extends Bench {
  readonly url: string;
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  post(path: string, body?: unknown): Promise<Answer>;
}

async function bench(t: TestContext, environment: Record<string, string> = {}, options: Partial<ControlOptions> = {}): Promise<ControlBench> {
  const on = await Bench.open(redis.url, {}, environment);
  t.after(() => on.close());
  const control = on.closing(await startControl(on.settings, silentLogger, { logPollMs: 20, ...options }));
  const call = async (path: string, init: RequestInit): Promise<Answer> => {
    const response = await fetch(`${control.url}${path}`, init);
    const body = (await response.json()) as Json;
    return { status: response.status, body, error: (body["error"] ?? {}) as Json };
  };
  const authorization = `Bearer ${apiKey}`;
  return Object.assign(on, {
    url: control.url,
    get: (path: string, headers: Record<string, string> = {}) => call(path, { headers: { authorization, ...headers } }),
    post: (path: string, body?: unknown) => call(path, { method: "POST", headers: { authorization, "content-type": "application/json" }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }),
  });
}

async function record(on: Bench, fields: Partial<Run> = {}): Promise<Run> {
  const job = { runId: fields.id ?? newRunId(), domain: fields.domain ?? "technical", reason: "manual" as const, force: false, overrides: {}, requestedAt: 1 };
  const run: Run = { ...queuedRun(job, runSettings(on.settings)), state: "published", attempt: 1, startedAt: 1, finishedAt: 2, ...fields };
  await writeRun(on.paths.runs, run);
  return run;
}

const store = async (on: Bench, runId: string, byte: number) =>
  (await publishAdapter({ loras: on.paths.loras, domain: "technical", config: { r: byte }, weights: new Uint8Array([byte]), base: { name: "fake", sha256: "0".repeat(64) }, runId, heldOut: { base: 3, adapter: 2, rows: 5, tokens: 60 } })).generation;

const adapterEvents = async (on: Bench) => (await on.redis.xrange(streams.adapters.key, "-", "+")).map((entry) => parseEntry("adapters", entry)).map((entry) => ("payload" in entry ? { ...entry.payload, at: 0 } : entry.fault));

test("every route but health wants the key", async (t) => {
  const on = await bench(t);
  for (const path of ["/healthz", "/readyz"]) assert.equal((await fetch(on.url + path)).status, 200);
  const routes = ["GET /metrics", "GET /", "GET /fine-tune/status", "POST /fine-tune/trigger", "GET /runs", "GET /runs/x", "GET /runs/x/logs", "GET /runs/x/metrics", "POST /runs/x/cancel", "GET /adapters", "GET /adapters/x", "POST /adapters/x/promote", "POST /adapters/x/rollback", "GET /datasets", "GET /queue/status", "GET /nothing"];
  for (const route of routes) {
    const [method = "", path = ""] = route.split(" ");
    assert.equal((await fetch(on.url + path, { method })).status, 401, route);
    assert.equal((await fetch(on.url + path, { method, headers: { "x-api-key": "wrong" } })).status, 401, route);
  }
  assert.equal((await on.get("/nothing")).error["code"], "route_not_found");
});

test("a trigger adds a job, says which, and a second one gets 409 with the job that is there", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  const { status, body } = await on.post("/fine-tune/trigger", { domain: "technical", config: { epochs: 2, learning_rate: 0.001 } });
  assert.equal(status, 202);
  const [job] = body["jobs"] as { runId: string; domain: string; rows: number }[];
  assert.deepEqual({ ...job, runId: "" }, { runId: "", domain: "technical", rows: 20 });
  const queued = await on.queue.getJob(job?.runId ?? "");
  assert.deepEqual(queued?.data.overrides, { epochs: 2, learning_rate: 0.001 });
  assert.equal(queued?.data.reason, "manual");

  const again = await on.post("/fine-tune/trigger", { domain: "technical" });
  assert.equal(again.status, 409);
  assert.equal(again.error["code"], "job_exists");
  assert.deepEqual(again.error["jobs"], [{ runId: job?.runId, domain: "technical" }]);

  // It can be seen before any trainer has touched it.
  const run = await on.get(`/runs/${job?.runId}`);
  assert.equal(run.status, 200);
  assert.deepEqual([run.body["state"], run.body["attempt"], (run.body["settings"] as Json)["epochs"], run.body["startedAt"]], ["queued", 0, 2, null]);
  assert.deepEqual(((await on.get("/runs")).body["data"] as Json[]).map((entry) => entry["id"]), [job?.runId]);
});

test("a trigger that can't be served says why, with the right status", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 6);
  const trigger = (body: unknown) => on.post("/fine-tune/trigger", body);
  const few = await trigger({ domain: "technical" });
  assert.equal(few.status, 422);
  assert.equal(few.error["code"], "too_few_examples");
  assert.deepEqual(few.error["counts"], [{ domain: "technical", rows: 6, train: 5, heldOut: 1, needed: 10 }]);
  assert.match(String(few.error["message"]), /6 rows and needs 10/);
  // One held-out row: not even by force.
  const forced = await trigger({ domain: "technical", force: true });
  assert.deepEqual([forced.status, forced.error["code"]], [422, "too_few_examples"]);
  assert.match(String(forced.error["message"]), /1 to test with/);
  assert.equal((await trigger({})).status, 422);
  assert.deepEqual([(await trigger({ domain: "astrology" })).status, (await trigger({ domain: "astrology" })).error["code"]], [404, "unknown_domain"]);
  assert.match(String((await trigger({ domain: "astrology" })).error["hint"]), /technical/);
  for (const body of [{ domain: "../x" }, { domain: 5 }, { dmain: "technical" }, { force: "yes" }, { config: { rank: 0 } }, { config: { ranks: 8 } }, { config: { learning_rate: 5 } }, [], "technical"]) {
    const refused = await trigger(body);
    assert.deepEqual([refused.status, refused.error["code"]], [400, "invalid_request"], JSON.stringify(body));
  }
  assert.equal((await trigger({ config: { rank: 0 } })).error["param"], "config.rank");
  assert.equal((await fetch(`${on.url}/fine-tune/trigger`, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: "{" })).status, 400);
  assert.equal(await on.queue.count(), 0);
  // With two held-out rows force is enough.
  await on.rows("technical", 2, { from: 6 });
  assert.equal((await trigger({ domain: "technical" })).status, 422);
  assert.equal((await trigger({ domain: "technical", force: true })).status, 202);
});

test("a trigger without a domain takes all that have enough", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  await on.rows("legal", 20);
  await on.rows("medical", 5);
  await on.post("/fine-tune/trigger", { domain: "legal" });
  const { status, body } = await on.post("/fine-tune/trigger");
  assert.equal(status, 202);
  assert.deepEqual((body["jobs"] as Json[]).map((job) => job["domain"]), ["technical"]);
  assert.deepEqual((body["existing"] as Json[]).map((job) => job["domain"]), ["legal"]);
  assert.ok((body["skipped"] as Json[]).some((skipped) => skipped["domain"] === "medical" && skipped["rows"] === 5));
  const third = await on.post("/fine-tune/trigger", {});
  assert.equal(third.status, 409);
  assert.equal((third.error["jobs"] as Json[]).length, 2);
});

test("old rows don't count", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 40, { createdAt: Date.now() - 31 * 86_400_000 });
  assert.equal((await on.post("/fine-tune/trigger", { domain: "technical" })).status, 422);
});

test("ENABLE_FINE_TUNING=false refuses triggers and the schedule", async (t) => {
  const on = await bench(t, { ENABLE_FINE_TUNING: "false" });
  await on.rows("technical", 20);
  const refused = await on.post("/fine-tune/trigger", { domain: "technical" });
  assert.deepEqual([refused.status, refused.error["code"]], [409, "fine_tuning_disabled"]);
  const status = (await on.get("/fine-tune/status")).body;
  assert.deepEqual([status["enabled"], status["schedule"]], [false, null]);
});

test("status tells queue, rows, live adapter, last run, job and the next cycle", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  const last = await record(on, { state: "rejected" });
  const generation = await store(on, last.id, 1);
  await writeLive(on.paths.loras, "technical", { generation, reason: "test" });
  await mkdir(join(on.paths.loras, "legal"), { recursive: true });
  await writeFile(join(on.paths.loras, "legal", "live.json"), "damaged");
  const { body: triggered } = await on.post("/fine-tune/trigger", { domain: "technical" });
  const { status, body } = await on.get("/fine-tune/status");
  assert.equal(status, 200);
  const domains = body["domains"] as Json[];
  const technical = domains.find((domain) => domain["domain"] === "technical") ?? {};
  assert.deepEqual({ rows: technical["rows"], train: technical["train"], heldOut: technical["heldOut"], needed: technical["needed"], enough: technical["enough"] }, { rows: 20, train: 15, heldOut: 5, needed: 10, enough: true });
  assert.equal((technical["live"] as Json)["generation"], generation);
  assert.deepEqual([(technical["lastRun"] as Json)["id"], (technical["lastRun"] as Json)["state"]], [last.id, "rejected"]);
  assert.deepEqual(technical["job"], { runId: (triggered["jobs"] as Json[])[0]?.["runId"], state: "waiting" });
  assert.match(String((domains.find((domain) => domain["domain"] === "legal")?.["live"] as Json)["damaged"]), /not JSON/);
  assert.equal((body["queue"] as Json)["waiting"], 1);
  const schedule = body["schedule"] as { intervalDays: number; lastCycleAt: number; nextCycleAt: number };
  assert.equal(schedule.nextCycleAt - schedule.lastCycleAt, 7 * 86_400_000);

  const queue = (await on.get("/queue/status")).body;
  assert.equal((queue["counts"] as Json)["waiting"], 1);
  assert.deepEqual((queue["jobs"] as Json[]).map((job) => [job["domain"], job["state"], job["starts"]]), [["technical", "waiting", 0]]);
  const datasets = (await on.get("/datasets")).body["data"] as Json[];
  assert.deepEqual(datasets.find((dataset) => dataset["domain"] === "technical")?.["splits"], { train: 15, "held-out": 5 });
  await until("the gauge", async () => /everlora_jobs\{state="waiting",service="control"\} 1/.test(await (await fetch(`${on.url}/metrics`, { headers: { authorization: `Bearer ${apiKey}` } })).text()));
});

test("runs: pages, filters, one, metrics, damage", async (t) => {
  const on = await bench(t);
  const runs = [];
  for (let number = 0; number < 5; number++) runs.push(await record(on, { id: newRunId(Date.now() + number), domain: number === 2 ? "legal" : "technical", state: number === 4 ? "running" : "published" }));
  const ids = runs.map((run) => run.id).reverse();
  const first = await on.get("/runs?limit=2");
  assert.deepEqual([(first.body["data"] as Json[]).map((run) => run["id"]), first.body["more"]], [ids.slice(0, 2), true]);
  const rest = await on.get(`/runs?limit=10&after=${ids[1]}`);
  assert.deepEqual([(rest.body["data"] as Json[]).map((run) => run["id"]), rest.body["more"]], [ids.slice(2), false]);
  assert.deepEqual(((await on.get("/runs?domain=legal")).body["data"] as Json[]).map((run) => run["id"]), [ids[2]]);
  assert.deepEqual(((await on.get("/runs?state=running")).body["data"] as Json[]).map((run) => run["id"]), [ids[0]]);
  for (const query of ["limit=0", "limit=101", "limit=x", "state=done", "colour=red", "domain=.."]) assert.equal((await on.get(`/runs?${query}`)).status, 400, query);

  const [id = ""] = ids;
  assert.equal((await on.get(`/runs/${id}`)).body["state"], "running");
  for (const path of ["/runs/run-00000000-000000", "/runs/..%2f..%2fetc", "/runs/run-00000000-000000/metrics", "/runs/run-00000000-000000/logs", "/runs/%00"]) assert.deepEqual([(await on.get(path)).status, (await on.get(path)).error["code"]], [404, "run_not_found"], path);
  assert.deepEqual([(await on.get("/runs/%E0%A4%A")).status, (await on.get("/runs/%E0%A4%A")).error["code"]], [400, "invalid_request"]);
  const metric = { step: 1, epoch: 0.5, loss: 2.5, learningRate: 1e-4, gradientNorm: 1, tokens: 10, trainedTokens: 5, seconds: 0.1, at: 1 };
  await writeFile(join(on.paths.runs, id, "metrics.jsonl"), `${JSON.stringify(metric)}\n${JSON.stringify({ ...metric, step: 2 })}\n`);
  assert.deepEqual((await on.get(`/runs/${id}/metrics`)).body["data"], [metric, { ...metric, step: 2 }]);
  assert.deepEqual((await on.get(`/runs/${id}/metrics?after=1`)).body["data"], [{ ...metric, step: 2 }]);

  await writeFile(join(on.paths.runs, id, "run.json"), "{");
  const damaged = await on.get(`/runs/${id}`);
  assert.deepEqual([damaged.status, damaged.error["code"]], [500, "run_corrupted"]);
  const list = await on.get("/runs");
  assert.equal((list.body["data"] as Json[]).length, 4);
  assert.deepEqual((list.body["damaged"] as Json[]).map((run) => run["id"]), [id]);
});

test("cancel: a waiting run ends at once and frees its domain; an ended one can't; one at work is told", async (t) => {
  const on = await bench(t);
  await on.rows("technical", 20);
  const trigger = async () => ((await on.post("/fine-tune/trigger", { domain: "technical" })).body["jobs"] as Json[])[0]?.["runId"] as string;
  const waiting = await trigger();
  const cancelled = await on.post(`/runs/${waiting}/cancel`);
  assert.deepEqual([cancelled.status, cancelled.body], [200, { id: waiting, state: "cancelled" }]);
  assert.equal((await on.get(`/runs/${waiting}`)).body["state"], "cancelled");
  assert.equal(await on.queue.getJob(waiting), undefined);
  assert.deepEqual([(await on.post(`/runs/${waiting}/cancel`)).status, (await on.post(`/runs/${waiting}/cancel`)).error["code"]], [409, "conflict"]);
  assert.equal((await on.post("/runs/run-00000000-000000/cancel")).status, 404);
  assert.equal((await on.post(`/runs/${waiting}/cancel`, { now: true })).status, 400);

  await on.behave({ waitAfterStep: 1 });
  const working = await trigger();
  await on.trainer();
  await on.stepsOf(working, 1);
  const told = await on.post(`/runs/${working}/cancel`);
  assert.deepEqual([told.status, told.body], [202, { id: working, state: "cancelling" }]);
  assert.equal((await on.runIn(working, "cancelled", "failed", "published")).state, "cancelled");
  await until("the request to be forgotten", async () => !(await cancelRequested(on.redis, working)));
});

test("adapters: list, promote, roll back; each moves the pointer and rings the bell", async (t) => {
  const on = await bench(t);
  const first = await store(on, "run-aaaaaaaa-000001", 1);
  const second = await store(on, "run-aaaaaaaa-000002", 2);
  const third = await store(on, "run-aaaaaaaa-000003", 3);
  const live = async () => (await readLive(on.paths.loras, "technical"))?.generation;
  const nothing = await on.post("/adapters/technical/rollback");
  assert.deepEqual([nothing.status, nothing.error["code"]], [409, "conflict"]);
  assert.equal((await on.post("/adapters/technical/promote", { generation: first })).status, 200);
  assert.equal((await on.post("/adapters/technical/promote", { generation: second })).status, 200);
  assert.equal(await live(), second);
  const one = await on.get("/adapters/technical");
  assert.equal((one.body["live"] as Json)["generation"], second);
  assert.deepEqual(new Set((one.body["data"] as Json[]).map((adapter) => adapter["generation"])), new Set([first, second, third]));
  assert.deepEqual(((await on.get("/adapters")).body["data"] as Json[]).filter((adapter) => adapter["live"]).map((adapter) => adapter["generation"]), [second]);

  // Back to the one before; a second rollback must not bring the first patient back, but goes to the base.
  assert.equal(((await on.post("/adapters/technical/rollback", {})).body["live"] as Json)["generation"], first);
  assert.equal(((await on.post("/adapters/technical/rollback", {})).body["live"] as Json)["generation"], null);
  assert.equal((await on.post("/adapters/technical/rollback", {})).status, 409);
  await on.post("/adapters/technical/promote", { generation: third });
  assert.equal(((await on.post("/adapters/technical/rollback", { to: "base" })).body["live"] as Json)["generation"], null);
  assert.deepEqual(await adapterEvents(on), [
    { type: "promoted", domain: "technical", generation: first, at: 0 },
    { type: "promoted", domain: "technical", generation: second, at: 0 },
    { type: "rolled_back", domain: "technical", generation: first, at: 0 },
    { type: "rolled_back", domain: "technical", generation: null, at: 0 },
    { type: "promoted", domain: "technical", generation: third, at: 0 },
    { type: "rolled_back", domain: "technical", generation: null, at: 0 },
  ]);

  assert.deepEqual([(await on.post("/adapters/technical/promote", { generation: "0".repeat(12) })).status, (await on.post("/adapters/legal/promote", { generation: first })).error["code"]], [404, "adapter_not_found"]);
  for (const body of [{}, { generation: "../../../x" }, { generation: first, force: true }]) assert.equal((await on.post("/adapters/technical/promote", body)).status, 400);
  assert.equal((await on.post("/adapters/technical/rollback", { to: "yesterday" })).status, 400);
  for (const path of ["/adapters/astrology", "/adapters/..%2f.."]) assert.equal((await on.get(path)).error["code"], "unknown_domain");
  await writeFile(join(on.paths.loras, "technical", second, "adapter_model.safetensors"), "x");
  const corrupted = await on.post("/adapters/technical/promote", { generation: second });
  assert.deepEqual([corrupted.status, corrupted.error["code"]], [422, "adapter_corrupted"]);
  assert.equal(await live(), null);
});

test("with Redis away the answer is 503 at once, and files can still be read", async (t) => {
  const own = await startRedis();
  t.after(() => own.stop());
  const on = await Bench.open(own.url);
  const control = await startControl(on.settings, silentLogger, {});
  await on.rows("technical", 20);
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  t.after(async () => {
    await control.close();
    await on.close();
  });
  await own.stop();
  await until("control to notice", async () => (await fetch(`${control.url}/readyz`)).status === 503);
  const refused = await fetch(`${control.url}/fine-tune/trigger`, { method: "POST", headers, body: '{"domain":"technical"}' });
  assert.equal(refused.status, 503);
  assert.equal(((await refused.json()) as { error: Json }).error["code"], "redis_unavailable");
  assert.notEqual(refused.headers.get("retry-after"), null);
  assert.equal((await fetch(`${control.url}/datasets`, { headers })).status, 200);
});

test("the key is made at the first start and kept", async (t) => {
  const on = await Bench.open(redis.url, {}, { EVERLORA_API_KEY: "" });
  t.after(() => on.close());
  const control = on.closing(await startControl(on.settings, silentLogger));
  const key = (await readFile(on.paths.apiKeyFile, "utf8")).trim();
  assert.equal((await fetch(`${control.url}/runs`, { headers: { "x-api-key": key } })).status, 200);
});
