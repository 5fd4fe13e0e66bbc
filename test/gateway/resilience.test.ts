/** What an upstream that is ill, and a client that is worse, do to the gateway: retries, the circuit breaker, time-outs, lies about length, half events, garbage. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Breaker, type BreakerState } from "../../services/gateway/upstream/breaker.ts";
import { AttemptFailure } from "../../services/gateway/upstream/failure.ts";
import { Retry } from "../../services/gateway/upstream/retry.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { apiKey, startTestGateway, user, type TestGateway } from "./support/gateway.ts";
import { events, startUpstream, usual, type Reply, type TestUpstream } from "./support/upstream.ts";

describe("the circuit breaker", () => {
  const make = () => {
    const clock = { now: 0 };
    const states: BreakerState[] = [];
    return { clock, states, breaker: new Breaker({ share: 0.5, least: 4, windowMs: 1_000, openMs: 100, longestMs: 400, now: () => clock.now, onChange: (state) => states.push(state) }) };
  };

  it("opens at its share of failures, lets one request try, and closes when that went well", () => {
    const { breaker, clock, states } = make();
    for (const outcome of ["ok", "failed", "ok", "failed"] as const) {
      assert.equal(breaker.enter(), 0);
      breaker.report(outcome);
    }
    assert.ok(breaker.enter() > 0);
    clock.now = 130;
    assert.equal(breaker.state, "half-open");
    assert.equal(breaker.enter(), 0);
    assert.ok(breaker.enter() > 0, "one at a time");
    breaker.report("ok");
    assert.deepEqual(states, ["open", "half-open", "closed"]);
    assert.equal(breaker.enter(), 0);
  });

  it("stays open longer with each trial that fails, and no trial is lost with a client that left", () => {
    const { breaker, clock } = make();
    for (let at = 0; at < 4; at++) breaker.report("failed");
    const rests: number[] = [];
    for (let trial = 0; trial < 4; trial++) {
      const rest = breaker.enter();
      rests.push(rest);
      clock.now += rest;
      assert.equal(breaker.enter(), 0);
      if (trial === 2) {
        breaker.report("unknown");
        assert.equal(breaker.enter(), 0, "somebody else may try");
      }
      breaker.report("failed");
    }
    const within = (rest: number | undefined, around: number) => assert.ok(rest !== undefined && rest >= around * 0.8 && rest <= around * 1.2, `${rest} about ${around}`);
    [100, 200, 400, 400].forEach((around, at) => within(rests[at], around));
  });

  it("says nothing about few requests, forgets old ones, and can be switched off", () => {
    const { breaker, clock } = make();
    for (let at = 0; at < 3; at++) breaker.report("failed");
    clock.now = 2_000;
    for (let at = 0; at < 3; at++) breaker.report("failed");
    assert.equal(breaker.enter(), 0);
    const never = new Breaker({ share: 0, least: 1 });
    for (let at = 0; at < 50; at++) never.report("failed");
    assert.equal(never.enter(), 0);
  });
});

describe("retries", () => {
  const failing = (traits: { again: boolean; afterMs?: number }, times: number) => {
    const state = { attempts: 0 };
    return {
      state,
      attempt: async () => {
        if (++state.attempts > times) return "done";
        throw new AttemptFailure(new EverloraError("upstream_error", `attempt ${state.attempts}`), { unwell: true, ...traits });
      },
    };
  };
  const run = (retry: Retry, attempt: () => Promise<string>, signal = new AbortController().signal) => retry.run(attempt, signal, () => undefined);

  it("come as often as allowed, for what may work later, and the last failure is told", async () => {
    const twice = failing({ again: true }, 2);
    assert.equal(await run(new Retry({ retries: 2, firstWaitMs: 1 }), twice.attempt), "done");
    const thrice = failing({ again: true }, 3);
    await assert.rejects(run(new Retry({ retries: 2, firstWaitMs: 1 }), thrice.attempt), { message: "attempt 3" });
    const never = failing({ again: false }, 1);
    await assert.rejects(run(new Retry({ retries: 2, firstWaitMs: 1 }), never.attempt), { message: "attempt 1" });
  });

  it("wait as the server says, unless that is too long for us", async () => {
    const started = performance.now();
    const soon = failing({ again: true, afterMs: 60 }, 1);
    assert.equal(await run(new Retry({ retries: 1, firstWaitMs: 1 }), soon.attempt), "done");
    assert.ok(performance.now() - started >= 55);
    const late = failing({ again: true, afterMs: 60_000 }, 1);
    await assert.rejects(run(new Retry({ retries: 1 }), late.attempt), { message: "attempt 1" });
    assert.equal(late.state.attempts, 1);
  });

  it("come out of a budget: a server that is down gets a tenth more at most, in the long run", async () => {
    const retry = new Retry({ retries: 1, firstWaitMs: 0 });
    const down = failing({ again: true }, Infinity);
    for (let at = 0; at < 300; at++) await run(retry, down.attempt).catch(() => undefined);
    assert.ok(down.state.attempts <= 300 + 20 + 30 + 1, `${down.state.attempts} attempts`);
    assert.ok(down.state.attempts >= 320);
  });

  it("end with the client", async () => {
    const leave = new AbortController();
    const waiting = run(new Retry({ retries: 1 }), failing({ again: true, afterMs: 4_000 }, 1).attempt, leave.signal);
    leave.abort();
    await assert.rejects(waiting, { code: "cancelled" });
  });
});

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

describe("clients that are worse", () => {
  let redis: TestRedis;
  let upstream: TestUpstream;
  let gateway: TestGateway;
  before(async () => {
    [redis, upstream] = await Promise.all([startRedis(), startUpstream()]);
    gateway = await startTestGateway({ REDIS_URL: redis.url, UPSTREAM_URL: upstream.url, UPSTREAM_MODEL: "teacher", MAX_BODY_BYTES: "100000" });
  });
  after(async () => {
    await gateway.stop();
    await upstream.stop();
    await redis.stop();
  });
  const raw = (bytes: string) =>
    new Promise<string>((resolve) => {
      const { hostname, port } = new URL(gateway.url);
      const socket = connect(Number(port), hostname, () => socket.write(bytes, "latin1"));
      let text = "";
      socket.setEncoding("latin1").on("data", (piece: string) => {
        text += piece;
        // A refusal is whole with its body; whether the server then waits for more of ours is its own business.
        const length = /content-length: (\d+)/i.exec(text);
        const end = text.indexOf("\r\n\r\n");
        if (end >= 0 && (length === null || text.length >= end + 4 + Number(length[1]))) socket.destroy();
      });
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(text));
    });
  const post = (headers: string, body: string) => raw(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\nconnection: close\r\n${headers}\r\n${body}`);

  it("garbage is 4xx, whatever it is", async () => {
    const bodies = ["", "null", "[]", "5", '"text"', "{", "{}", "\0\0\0", '{"model":', `{"messages":${"[".repeat(50_000)}`, `{"__proto__":{"model":"auto"},"messages":[]}`, '{"model":"auto","messages":[{"role":"user","content":{"deep":1}}]}', '{"model":1e999,"messages":[]}', "\xff\xfe\xfd"];
    for (const body of bodies) assert.match(await post(`content-type: application/json\r\ncontent-length: ${body.length}\r\n`, body), /^HTTP\/1\.1 4\d\d /, body.slice(0, 40));
    assert.match(await post("content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n", "nope"), /^HTTP\/1\.1 4\d\d /);
    assert.match(await post("content-type: text/plain\r\ncontent-length: 2\r\n", "{}"), /^HTTP\/1\.1 4\d\d /);
    assert.match(await post("content-type: application/json\r\ncontent-length: 200000\r\n", "x".repeat(200_000)), /^HTTP\/1\.1 413 /);
    assert.match(await post("content-type: application/json\r\ntransfer-encoding: chunked\r\n", "zz\r\n"), /^HTTP\/1\.1 400 /);
    assert.match(await raw("NONSENSE\r\n\r\n"), /^HTTP\/1\.1 400 /);
  });

  it("huge headers are 431, and two content-lengths are refused", async () => {
    assert.match(await post(`x-huge: ${"y".repeat(100_000)}\r\ncontent-length: 2\r\n`, "{}"), /^HTTP\/1\.1 431 /);
    assert.match(await post("content-length: 2\r\ncontent-length: 3\r\n", "{}"), /^HTTP\/1\.1 400 /);
  });

  it("the same request id twice is nobody's: the gateway makes its own", async () => {
    const ids = await Promise.all([1, 2, 3].map(async (at) => (await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(`id ${at}`)] }, { "x-request-id": "mine" })).headers.get("x-request-id")));
    assert.equal(new Set(ids).size, 3);
    assert.ok(!ids.includes("mine"));
  });

  it("a slow reader slows its own stream: the upstream is not read ahead without bound, and a leaving client ends it", async () => {
    let written = 0;
    let stopped: (() => void) | undefined;
    const ended = new Promise<void>((resolve) => (stopped = resolve));
    upstream.reply = async (_asked, response) => {
      const payload = "x".repeat(16_000);
      response.once("close", () => stopped?.());
      for (let at = 0; at < 4_000 && !response.destroyed; at++) {
        const more = response.headersSent;
        events(response, [{ choices: [{ index: 0, delta: { content: payload } }] }]);
        written += payload.length;
        if (more && response.writableNeedDrain) await new Promise<void>((resolve) => {
          response.once("drain", resolve);
          response.once("close", resolve);
        });
      }
    };
    const { hostname, port } = new URL(gateway.url);
    const body = JSON.stringify({ model: "auto", messages: [user("a long story")], stream: true });
    const socket = connect(Number(port), hostname, () => socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\ncache-control: no-store\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`));
    socket.on("error", () => undefined);
    socket.pause(); // takes nothing: only the kernel's buffers fill up
    await until("some of it to be written", () => written > 100_000);
    let before = -1;
    await until("the writing to stall", async () => {
      const stalled = written === before;
      before = written;
      await sleep(300);
      return stalled;
    });
    assert.ok(written < 40_000_000, `${written} bytes went to nobody`);
    socket.destroy();
    await ended;
    upstream.reply = usual;
  });

  it("clients that leave in the middle of their body are forgotten", async () => {
    const { hostname, port } = new URL(gateway.url);
    const inFlight = () => gateway.metric("everlora_http_requests_in_flight");
    const sockets = Array.from({ length: 10 }, () => {
      const socket = connect(Number(port), hostname, () => socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{"model"`));
      socket.on("error", () => undefined);
      return socket;
    });
    await until("them to be in flight", async () => (await inFlight()) > 10);
    for (const socket of sockets) socket.destroy();
    await until("them to be gone", async () => (await inFlight()) === 1);
    assert.equal((await gateway.call("/v1/models")).status, 200);
  });
});
