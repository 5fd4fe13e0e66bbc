/** Clients that send garbage, read slowly, or leave. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../support/wait.ts";
import { apiKey, user, type TestGateway } from "./support/gateway.ts";
import { startTaughtSite } from "./support/site.ts";
import { events, usual, type TestUpstream } from "./support/upstream.ts";

describe("clients that are worse", () => {
  let gateway: TestGateway;
  let upstream: TestUpstream;
  let stop: () => Promise<void>;
  before(async () => {
    ({ gateway, upstream, stop } = await startTaughtSite({ MAX_BODY_BYTES: "100000" }));
  });
  after(() => stop());
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

  it("what is wrong with a field is said of that field", async () => {
    const refusalOf = async (field: Record<string, unknown>) => {
      const answer = await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user("hello")], ...field });
      const { error } = (await answer.json()) as { error: { param: string | null; message: string } };
      return [answer.status, error.param, error.message] as const;
    };
    assert.deepEqual(await refusalOf({ stop: ["a", "b", "c", "d", "e"] }), [400, "stop", "stop: a text, or a list of at most four"]);
    assert.deepEqual(await refusalOf({ logit_bias: { soup: 5 } }), [400, "logit_bias", "logit_bias: a token is named by its number"]);
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
