/** Indexes in the cache's server: vector sets on a real Redis 8 where one is there (REDIS8_SERVER=<its redis-server>, or in the PATH), RediSearch against a stand-in. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { describe, it } from "node:test";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis } from "../../shared/redis/redis.ts";
import { freePort, startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { startTestGateway, user, type TestGateway } from "./support/gateway.ts";
import { startSearchServer } from "./support/search_server.ts";

const redis8 = process.env["REDIS8_SERVER"];

/** What every index must do, over two gateways that share nothing but the server. */
async function behaves(url: string, setting: string): Promise<void> {
  const environment = { REDIS_URL: url, CACHE_INDEX: setting };
  const [one, two] = await Promise.all([startTestGateway(environment), startTestGateway(environment)]);
  try {
    const ask = async (at: TestGateway, content: string, more: object = {}) => {
      const response = await at.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(content)], ...more });
      const text = await response.text();
      assert.equal(response.status, 200, text);
      return { cache: response.headers.get("x-everlora-cache"), similarity: Number(response.headers.get("x-everlora-similarity")), conversation: response.headers.get("x-everlora-conversation") ?? "" };
    };
    const first = await ask(one, "What is the price of the blue garden chair?");
    const second = await ask(two, "hello, what is the price of the blue garden chair, please");
    assert.deepEqual([first.cache, second.cache, second.conversation], ["miss", "hit-semantic", first.conversation]);
    assert.ok(second.similarity > 0.98 && second.similarity <= 1);
    assert.equal((await ask(two, "What is the price of the red garden chair?")).cache, "miss");
    assert.equal((await ask(two, "what is the price of the blue garden chair", { user: "somebody else" })).cache, "miss");
    assert.equal((await ask(two, "what is the price of the blue garden chair", { temperature: 0 })).cache, "miss");
    const feedback = await one.call("/feedback", { conversation: first.conversation, rating: "rejected" });
    assert.equal(((await feedback.json()) as { removed: number }).removed, 1);
    assert.equal((await ask(two, "hi, what is the price of the blue garden chair")).cache, "miss");
  } finally {
    await one.stop();
    await two.stop();
  }
}

describe("index in the server", () => {
  it("by RediSearch, as documented (a stand-in)", async () => {
    const redis = await startRedis();
    const server = await startSearchServer(redis.url);
    await behaves(server.url, "search");
    const direct = await openRedis(redis.url, "failFast", silentLogger);
    await direct.flushall();
    direct.disconnect();
    const before = server.searches;
    await behaves(server.url, "auto");
    assert.ok(server.searches > before, "auto takes it");
    await server.stop();
    await redis.stop();
  });

  it("by vector sets", { skip: redis8 === undefined && "no Redis 8 here: set REDIS8_SERVER" }, async () => {
    const redis = await startRedis8(redis8 ?? "");
    await behaves(redis.url, "vector-set");
    const direct = await openRedis(redis.url, "failFast", silentLogger);
    const sets = await direct.keys("everlora:cache:vectors:*");
    assert.ok(sets.length > 0);
    for (const key of sets) {
      const left = await direct.pttl(key);
      assert.ok(left > 0 && left <= 86_400_000 * 1.25, `${key} ends in ${left} ms`);
    }
    await direct.flushall();
    direct.disconnect();
    await behaves(redis.url, "auto");
    await redis.stop();
  });

  it("is refused by name where the server has none", async () => {
    const redis = await startRedis();
    await assert.rejects(startTestGateway({ REDIS_URL: redis.url, CACHE_INDEX: "search" }), /CACHE_INDEX=search/);
    await redis.stop();
  });
});

async function startRedis8(program: string): Promise<TestRedis> {
  const port = await freePort();
  const server = spawn(program, ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], { stdio: "ignore" });
  const reap = () => void server.kill("SIGKILL");
  process.once("exit", reap);
  const url = `redis://127.0.0.1:${port}`;
  const ended = new Promise<void>((resolve) => server.once("close", () => resolve()));
  await until("Redis 8 to answer", async () => {
    const redis = await openRedis(url, "failFast", silentLogger).catch(() => null);
    redis?.disconnect();
    return redis !== null;
  });
  return {
    url,
    pid: server.pid ?? 0,
    stop: async () => {
      process.removeListener("exit", reap);
      server.kill("SIGKILL");
      await ended;
    },
  };
}
