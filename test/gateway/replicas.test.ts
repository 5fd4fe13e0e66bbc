/** Several engine children behind one queue: who gets what, and what a kill -9 costs. */
import assert from "node:assert/strict";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { Engine, type GenerateRequest } from "../../services/gateway/engine/engine.ts";
import { FairQueue } from "../../services/gateway/engine/fair_queue.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { fakeEngine, newDataDir, startTestGateway, storeAdapter, testSettings, user, type TestGateway } from "./support/gateway.ts";

const withCode = (code: string) => (error: unknown) => error instanceof EverloraError && error.code === code;

describe("engine replicas", () => {
  let data: Awaited<ReturnType<typeof newDataDir>>;
  let engine: Engine;
  const metrics = createMetrics("gateway");

  const open = async (environment: Record<string, string>) => {
    data = await newDataDir();
    engine = new Engine({ settings: testSettings(data.path, environment), log: silentLogger, metrics, script: fakeEngine });
    await engine.start();
    await until("all replicas", () => engine.pids.length === Number(environment["ENGINE_REPLICAS"]));
    await until("all to be ready", async () => ((await metrics.engineReplicas.get()).values[0]?.value ?? 0) === engine.pids.length);
  };
  afterEach(async () => {
    await engine.close();
    await data.remove();
  });
  const answer = async (content: string, more: Partial<GenerateRequest> = {}) => {
    let text = "";
    for await (const event of engine.generate({ messages: [user(content)], generation: null, maxTokens: 64, temperature: 0, topP: 1, stop: [], ...more })) if (event.type === "token") text += event.text;
    return text;
  };
  const line = (prefix: string) => async () => readFile(join(data.path, "fake-engine.log"), "utf8").then((text) => text.split("\n").filter((each) => each.startsWith(prefix)).length);

  it("work on as many answers as all of them together, and hold every adapter each", async () => {
    await open({ ENGINE_REPLICAS: "2", ENGINE_CONCURRENCY: "1", ENGINE_QUEUE: "0" });
    const generation = await storeAdapter(data.path, "legal", "one");
    await engine.load(generation, join(data.path, "loras", "legal", generation));
    assert.equal(await line("load")(), 2);
    const file = join(data.path, "go");
    const both = [answer(`!wait ${file} a`, { generation }), answer(`!wait ${file} b`, { generation })];
    await until("both to work", async () => (await line("generate")()) === 2);
    await assert.rejects(answer("third"), withCode("overloaded"));
    await writeFile(file, "");
    assert.deepEqual(await Promise.all(both), [`${generation} says !wait ${file} a`, `${generation} says !wait ${file} b`]);
    await engine.unload(generation);
    assert.equal(await line("unload")(), 2);
  });

  it("go on while one is away, which holds the adapter again before it answers", async () => {
    await open({ ENGINE_REPLICAS: "2", ENGINE_CONCURRENCY: "1", ENGINE_QUEUE: "8" });
    const cause = join(data.path, "no-start");
    await writeFile(cause, "");
    process.kill(engine.pids[0] ?? 0, "SIGKILL");
    await until("the death to be noticed", () => engine.pids.length === 1);
    const generation = await storeAdapter(data.path, "legal", "one");
    // Loading waits for the children that are up, not for the one that can't get up.
    await engine.load(generation, join(data.path, "loras", "legal", generation));
    assert.equal(engine.state.kind, "ready");
    assert.equal(await answer("still", { generation }), `${generation} says still`);
    await rm(cause);
    await until("two children", () => engine.pids.length === 2);
    for (let at = 0; at < 6; at++) assert.equal(await answer(`again ${at}`, { generation }), `${generation} says again ${at}`);
    await until("the second to hold it, too", async () => (await line("load")()) >= 2);
  });

  it("a child that can't take an adapter keeps all of them from it", async () => {
    await open({ ENGINE_REPLICAS: "2", ENGINE_CONCURRENCY: "1" });
    await assert.rejects(engine.load("0123456789ab", join(data.path, "nowhere")), withCode("adapter_corrupted"));
    await assert.rejects(answer("x", { generation: "0123456789ab" }), withCode("adapter_not_found"));
  });
});

describe("kill -9 of an engine child", () => {
  let redis: TestRedis;
  let gateway: TestGateway | undefined;
  before(async () => void (redis = await startRedis()));
  after(async () => redis.stop());
  afterEach(async () => gateway?.stop());

  for (const replicas of [1, 2])
    it(`loses no request that had not begun to stream, with ${replicas} of them`, async () => {
      gateway = await startTestGateway({ REDIS_URL: redis.url, ENGINE_REPLICAS: String(replicas), ENGINE_CONCURRENCY: "4", ENGINE_QUEUE: "64" });
      const { client, dataDir, engineLog } = gateway;
      const file = join(dataDir, "go");
      const begun = await client.chat.completions.create({ model: "tiny-fake", messages: [user(`!hold ${file} streaming`)], stream: true });
      const events = begun[Symbol.asyncIterator]();
      await events.next();
      // Some are in the child and have said nothing, some wait for it; half are streams.
      const waiting = Array.from({ length: 16 }, async (_, at) => {
        const body = { model: "tiny-fake", messages: [user(`!wait ${file} number ${at} of ${replicas}`)] };
        if (at % 2 === 0) return (await client.chat.completions.create(body)).choices[0]?.message.content;
        let text = "";
        for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) text += chunk.choices[0]?.delta.content ?? "";
        return text;
      });
      await until("the children to be busy", async () => (await engineLog()).filter((each) => each.startsWith("generate")).length >= 4 * replicas);
      for (const pid of await enginePids()) process.kill(pid, "SIGKILL");
      await assert.rejects(async () => {
        for (let next = await events.next(); next.done !== true; next = await events.next());
      }, /stopped in the middle/);
      await writeFile(file, "");
      assert.deepEqual(await Promise.all(waiting), Array.from({ length: 16 }, (_, at) => `base says !wait ${file} number ${at} of ${replicas}`));
    });

  /** Children of this process that run the scripted engine. */
  async function enginePids(): Promise<number[]> {
    const found: number[] = [];
    for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
      const [command, status] = await Promise.all([readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => ""), readFile(`/proc/${pid}/status`, "utf8").catch(() => "")]);
      if (command.includes("fake_engine.ts") && status.includes(`PPid:\t${process.pid}\n`)) found.push(Number(pid));
    }
    assert.ok(found.length > 0);
    return found;
  }
});

describe("the fair queue", () => {
  const item = (caller: string, at: number) => ({ caller, at });
  const names = (queue: FairQueue<{ caller: string; at: number }>) => {
    const order: string[] = [];
    for (let next = queue.take(() => true); next !== undefined; next = queue.take(() => true)) order.push(`${next.caller}${next.at}`);
    return order.join(" ");
  };

  it("lets callers take turns, and gives back to the front", () => {
    const queue = new FairQueue<{ caller: string; at: number }>();
    for (let at = 0; at < 3; at++) queue.push(item("a", at));
    queue.push(item("b", 0));
    queue.push(item("c", 0));
    queue.unshift([item("x", 0), item("x", 1)]);
    assert.equal(queue.size, 7);
    assert.equal(names(queue), "x0 x1 a0 b0 c0 a1 a2");
    assert.equal(queue.size, 0);
  });

  it("passes over what may not go now, and forgets what was taken out", () => {
    const queue = new FairQueue<{ caller: string; at: number }>();
    const gone = item("a", 1);
    for (const each of [item("a", 0), gone, item("b", 0)]) queue.push(each);
    assert.equal(queue.take(({ caller }) => caller === "b")?.caller, "b");
    assert.ok(queue.remove(gone));
    assert.ok(!queue.remove(gone));
    assert.equal(names(queue), "a0");
  });

  it("when full, the one with the most gives way, and is told from one among many", () => {
    const queue = new FairQueue<{ caller: string; at: number }>();
    for (let at = 0; at < 4; at++) queue.push(item("hog", at));
    assert.ok(!queue.isGreedy("hog"), "nobody else waits");
    assert.equal(queue.yieldTo("hog"), undefined);
    assert.equal(queue.yieldTo("b")?.at, 3, "its newest");
    queue.push(item("b", 0));
    assert.ok(queue.isGreedy("hog"));
    assert.ok(!queue.isGreedy("b"));
    assert.equal(queue.yieldTo("b")?.at, 2);
    queue.push(item("b", 1));
    assert.equal(queue.yieldTo("b"), undefined, "two each");
    queue.push(item("hog", 4));
    assert.equal(queue.yieldTo("b"), undefined, "three to two: the newcomer would have three");
    assert.equal(names(queue), "hog0 b0 hog1 b1 hog4");
  });
});
