/** Upstreams that are ill or lie. */
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { startTestGateway, user, type TestGateway } from "./support/gateway.ts";
import { events, startUpstream, usual, type Reply, type TestUpstream } from "./support/upstream.ts";

describe("an upstream that is ill", () => {
  let redis: TestRedis;
  let upstream: TestUpstream;
  let gateway: TestGateway;
  before(async () => {
    [redis, upstream] = await Promise.all([startRedis(), startUpstream()]);
  });
  after(async () => {
    await upstream.stop();
    await redis.stop();
  });
  afterEach(async () => {
    upstream.reply = usual;
    upstream.asked.length = 0;
    await gateway.stop();
  });
  const open = async (more: Record<string, string> = {}) => (gateway = await startTestGateway({ REDIS_URL: redis.url, UPSTREAM_URL: upstream.url, UPSTREAM_MODEL: "teacher", UPSTREAM_TIMEOUT: "2", ...more }));
  let turn = 0;
  const ask = async (more: object = {}) => {
    const response = await gateway.call("/v1/chat/completions", { model: "auto", messages: [user(`resilient question ${turn++}`)], ...more });
    return { status: response.status, text: await response.text(), headers: response.headers };
  };
  const failTimes = (times: number, fail: Reply): Reply => {
    let failed = 0;
    return (asked, response) => (failed++ < times ? fail(asked, response) : usual(asked, response));
  };

  it("is asked again while nothing has gone out: refusals, resets, streams without an event", async () => {
    await open();
    const fails: Reply[] = [
      (_asked, response) => void response.writeHead(503, { "retry-after": "0" }).end(),
      (_asked, response) => void response.writeHead(429, { "retry-after": "1" }).end("{}"),
      (_asked, response) => void response.destroy(),
      (_asked, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.flushHeaders();
        setImmediate(() => response.destroy());
      },
    ];
    for (const [at, fail] of fails.entries())
      for (const stream of [false, true]) {
        upstream.reply = failTimes(1, fail);
        const answer = await ask({ stream });
        assert.equal(answer.status, 200, `${at} ${stream} ${answer.text}`);
        assert.match(answer.text, stream ? /\[DONE\]/ : /upstream says/);
      }
    // A reset of a kept connection before any answer is sent again at once and does not count.
    assert.ok((await gateway.metric("everlora_upstream_retries_total")) >= 6);
  });

  it("is not asked again once something has gone out, or for what the caller did wrong", async () => {
    await open();
    upstream.reply = (_asked, response) => {
      events(response, [{ choices: [{ index: 0, delta: { content: "half" } }] }]);
      setImmediate(() => response.destroy());
    };
    assert.match((await ask({ stream: true })).text, /half[^]*"upstream_error"/);
    upstream.reply = (_asked, response) => void response.writeHead(400).end('{"error":{"message":"no"}}');
    assert.equal((await ask()).status, 400);
    assert.equal(upstream.asked.length, 2);
  });

  it("is given a rest when too much failed, and tried again; health and metrics tell", async () => {
    await open({ UPSTREAM_RETRIES: "0" });
    upstream.reply = (_asked, response) => void response.writeHead(500).end();
    for (let at = 0; at < 10; at++) assert.equal((await ask()).status, 502);
    const asked = upstream.asked.length;
    const refused = await ask();
    assert.equal(refused.status, 503);
    assert.ok(Number(refused.headers.get("retry-after")) >= 1);
    assert.match(refused.text, /"upstream_unavailable"/);
    assert.equal(upstream.asked.length, asked);
    assert.equal(((await (await fetch(`${gateway.url}/readyz`)).json()) as { upstream: string }).upstream, "resting");
    assert.equal(await gateway.metric("everlora_upstream_breaker_open", { target: "upstream" }), 1);
    upstream.reply = usual;
    await until("the upstream to be tried", async () => (await ask()).status === 200);
    assert.equal(await gateway.metric("everlora_upstream_breaker_open", { target: "upstream" }), 0);
  });

  it("keeps each of its time-outs: an address that never answers, a drip, an answer without an end", async () => {
    await open({ UPSTREAM_TIMEOUT: "0.4", UPSTREAM_TOTAL_TIMEOUT: "1", UPSTREAM_RETRIES: "0" });
    upstream.reply = () => undefined;
    assert.match((await ask()).text, /sent nothing for 0.4 s/);
    // A byte now and then keeps the silence away; the total does not care.
    let dripping = true;
    upstream.reply = async (_asked, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: "drip" } }] })}\n\n`);
      while (dripping && !response.destroyed) {
        response.write(": \n\n");
        await sleep(50);
      }
    };
    assert.match((await ask({ stream: true })).text, /drip[^]*not ended its answer after 1 s/);
    dripping = false;
  });

  it("refuses more at once than UPSTREAM_CONCURRENCY", async () => {
    await open({ UPSTREAM_CONCURRENCY: "1" });
    let goOn: (() => void) | undefined;
    upstream.reply = async (asked, response) => {
      await new Promise<void>((resolve) => (goOn = resolve));
      await usual(asked, response);
    };
    const first = ask();
    await until("the upstream to be asked", () => upstream.asked.length === 1);
    assert.equal((await ask()).status, 503);
    goOn?.();
    assert.equal((await first).status, 200);
  });
});

describe("an upstream that lies", () => {
  let redis: TestRedis;
  let gateway: TestGateway;
  const sockets = new Set<Socket>();
  /** What each connection is answered with, and whether it is ended then or kept open. */
  const lie = { bytes: "", end: true };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("data", () => (lie.end ? socket.end(lie.bytes, "latin1") : socket.write(lie.bytes, "latin1")));
  });
  before(async () => {
    redis = await startRedis();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    gateway = await startTestGateway({ REDIS_URL: redis.url, UPSTREAM_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, UPSTREAM_MODEL: "teacher", UPSTREAM_TIMEOUT: "2", UPSTREAM_RETRIES: "0", UPSTREAM_BREAKER: "0" });
  });
  after(async () => {
    await gateway.stop();
    await redis.stop();
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  const good = JSON.stringify({ choices: [{ index: 0, message: { role: "assistant", content: "good" }, finish_reason: "stop" }] });
  const event = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: "part" }, finish_reason: null }] })}\n\n`;
  const head = (length: number, type = "application/json") => `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\n\r\n`;
  const cases: readonly (readonly [string, string, boolean, boolean, number])[] = [
    ["too long a content-length", head(good.length + 10) + good, true, false, 502],
    ["too short a content-length", head(good.length - 10) + good, true, false, 502],
    ["no headers", "nonsense\r\n\r\n", true, false, 502],
    ["nothing", "", true, false, 502],
    ["endless headers", `HTTP/1.1 200 OK\r\n${"x-filler: y\r\n".repeat(20_000)}\r\n`, true, false, 502],
    ["a body that is not UTF-8", head(2) + "\xff\xfe", true, false, 502],
    ["half an event", head(10_000, "text/event-stream") + event + event.slice(0, 30), true, true, 200],
    ["an event cut by the content-length", head(event.length + 20, "text/event-stream") + event + event.slice(0, 20), false, true, 200],
    ["events that are no JSON", head(14, "text/event-stream") + "data: {half\n\n\n", true, true, 502],
  ];
  for (const [name, bytes, end, stream, status] of cases)
    it(`${name}: an error in time, and the gateway goes on`, async () => {
      Object.assign(lie, { bytes, end });
      const response = await gateway.call("/v1/chat/completions", { model: "auto", messages: [user(`about ${name}`)], stream });
      const text = await response.text();
      assert.equal(response.status, status, text);
      assert.match(text, /"upstream_(error|timeout)"/);
      assert.ok(!text.includes("[DONE]"));
      assert.equal((await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user("x")] })).status, 200);
    });
});
