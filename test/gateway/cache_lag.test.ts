import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { smoothed } from "../../services/gateway/cache/lag.ts";
import { startRedis } from "../support/redis.ts";
import { startTestGateway, user } from "./support/gateway.ts";

describe("a gateway whose event loop is late", () => {
  it("looks for exact hits only, says so and counts it, and looks for near ones again when it is calm", async () => {
    const redis = await startRedis();
    const lag = { now: 0, close: () => void (lag.closed = true), closed: false };
    const gateway = await startTestGateway({ REDIS_URL: redis.url, CACHE_LAG: "50" }, { lag });
    const ask = async (content: string) => {
      const response = await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(content)] });
      assert.equal(response.status, 200, await response.text());
      return response.headers.get("x-everlora-cache");
    };
    const known = "How can I cancel my order from last week?";
    assert.equal(await ask(known), "miss");
    lag.now = 51;
    const near = "Hello, how can I cancel my order from last week, please?";
    assert.equal(await ask(near), "miss-exact", "a near question is not looked for");
    assert.equal(await ask(known), "hit-exact");
    assert.equal(await gateway.metric("everlora_cache_requests_total", { result: "miss-exact" }), 1);
    assert.equal(await ask("Where does the parcel for my neighbour lie now?"), "miss-exact");
    lag.now = 50;
    assert.equal(await ask("Hi! How can I cancel my order from last week?"), "hit-semantic");
    assert.equal(await ask("Hello, where does the parcel for my neighbour lie now, please?"), "miss", "what was answered in the rush is kept for exact hits");
    assert.equal(await ask("Where does the parcel for my neighbour lie now?"), "hit-exact");
    await gateway.stop();
    assert.ok(lag.closed);
    await redis.stop();
  });
});

describe("the smoothed delay", () => {
  it("rises when the timer is late again and again, not when it is once, and falls when it isn't", () => {
    assert.ok(smoothed(0, 200) <= 50, "a single pause");
    let mean = 0;
    for (let at = 0; at < 10; at++) mean = smoothed(mean, 80);
    assert.ok(mean > 50 && mean < 80, String(mean));
    for (let at = 0; at < 10; at++) mean = smoothed(mean, -1);
    assert.ok(mean < 50 && mean >= 0, String(mean));
  });
});
