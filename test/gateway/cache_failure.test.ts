import assert from "node:assert/strict";
import { createServer, connect, type AddressInfo, type Socket } from "node:net";
import { describe, it } from "node:test";
import { Breaker } from "../../services/gateway/cache/breaker.ts";
import { startRedis } from "../support/redis.ts";
import { startTestGateway, user } from "./support/gateway.ts";

/** A way to Redis that can be made to hold everything back. */
async function startSlowWay(to: string): Promise<{ url: string; hold(held: boolean): void; stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const pairs = new Set<readonly [Socket, Socket]>();
  const { hostname, port } = new URL(to);
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    const pair = [client, upstream] as const;
    pairs.add(pair);
    client.pipe(upstream).pipe(client);
    for (const socket of pair) sockets.add(socket.on("error", () => undefined).on("close", () => pairs.delete(pair)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold: (held) => {
      for (const [client, upstream] of pairs)
        if (held) upstream.unpipe(client).pause();
        else upstream.pipe(client);
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

describe("a cache that does not answer", () => {
  it("costs a hit and not an answer, and works again afterwards", async () => {
    const redis = await startRedis();
    const cacheServer = await startRedis();
    const way = await startSlowWay(cacheServer.url);
    const gateway = await startTestGateway({ REDIS_URL: redis.url, CACHE_REDIS_URL: way.url, CACHE_BUDGET: "300" });
    const ask = async (content: string) => {
      const response = await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(content)] });
      assert.equal(response.status, 200, await response.text());
      return response.headers.get("x-everlora-cache");
    };
    await ask("is the cache there?");
    way.hold(true);
    for (let time = 0; time < 6; time++) assert.notEqual(await ask("is the cache there?"), "hit-exact");
    const errors = await gateway.metric("everlora_cache_requests_total", { result: "error" });
    assert.ok(errors >= 6, `${errors} look-ups were given up`);
    way.hold(false);
    for (;;) {
      if ((await ask("is the cache there?")) === "hit-exact") break;
    }
    await gateway.stop();
    await way.stop();
    await cacheServer.stop();
    await redis.stop();
  });

  it("is left alone after three failures in a row, then tried by one", () => {
    const breaker = new Breaker();
    const now = 1_000_000;
    breaker.failed(now);
    breaker.failed(now);
    assert.ok(breaker.allows(now));
    breaker.failed(now);
    assert.equal(breaker.allows(now + 1_999), false);
    assert.ok(breaker.allows(now + 2_000));
    assert.equal(breaker.allows(now + 2_001), false, "one is trying");
    breaker.succeeded();
    assert.ok(breaker.allows(now + 2_002) && breaker.allows(now + 2_003));
  });
});
