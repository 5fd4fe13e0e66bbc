import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import type OpenAI from "openai";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { apiKey, user, type TestGateway } from "./support/gateway.ts";
import { forkGateway, type GatewayProcess } from "./support/gateway_process.ts";
import { startTaughtSite } from "./support/site.ts";
import { events, startUpstream, usual, type TestUpstream } from "./support/upstream.ts";

const model = "teacher";
const textOf = async (response: Response) => ((await response.json()) as OpenAI.ChatCompletion).choices[0]?.message.content;
const streamedText = (body: string) =>
  body
    .split("\n\n")
    .filter((event) => event.startsWith("data: {"))
    .map((event) => (JSON.parse(event.slice(6)) as OpenAI.ChatCompletionChunk).choices[0]?.delta.content ?? "")
    .join("");

/** A gate that the stand-in waits at before it answers. */
function gate(): { open: () => void; opened: Promise<void> } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

describe("single flight in one process", () => {
  let gateway: TestGateway;
  let upstream: TestUpstream;
  let stop: () => Promise<void>;

  before(async () => {
    ({ gateway, upstream, stop } = await startTaughtSite());
  });
  beforeEach(() => {
    upstream.asked.splice(0);
    upstream.reply = usual;
  });
  after(() => stop());

  const ask = (content: string, more: object = {}) => gateway.call("/v1/chat/completions", { model, messages: [user(content)], ...more });
  const joined = () => gateway.metric("everlora_cache_requests_total", { result: "joined" });
  /** Resolves when so many more requests have joined a flight than before. */
  const joins = (count: number, before: number) => until(`${count} to join`, async () => (await joined()) >= before + count);

  it("asks once for all who ask the same, as JSON and as a stream, and records one conversation", async () => {
    const { open, opened } = gate();
    upstream.reply = async (asked, response) => {
      await opened;
      return usual(asked, response);
    };
    const before = await joined();
    const all = Promise.all(Array.from({ length: 24 }, (_, at) => ask("who is first?", at % 2 === 0 ? {} : { stream: true }).then(async (response) => ({ response, body: await response.text() }))));
    await joins(23, before);
    open();
    const answers = await all;
    assert.equal(upstream.asked.length, 1);
    const texts = new Set(answers.map(({ body }, at) => (at % 2 === 0 ? (JSON.parse(body) as OpenAI.ChatCompletion).choices[0]?.message.content : streamedText(body))));
    assert.deepEqual([...texts], ["upstream says who is first?"]);
    const header = (name: string) => answers.map(({ response }) => response.headers.get(name));
    assert.deepEqual([header("x-everlora-cache").filter((value) => value === "miss").length, header("x-everlora-cache").filter((value) => value === "joined").length], [1, 23]);
    assert.equal(new Set(header("x-everlora-conversation")).size, 1);
    assert.equal(await gateway.metric("everlora_conversations_recorded_total", { outcome: "recorded" }), 1);
    assert.equal((await ask("who is first?")).headers.get("x-everlora-cache"), "hit-exact");
  });

  it("gives a stream to followers as it comes", async () => {
    const { open, opened } = gate();
    upstream.reply = async (_asked, response) => {
      const chunk = (content: string, finish: string | null = null) => ({ id: "x", created: 1, model, object: "chat.completion.chunk", choices: [{ index: 0, delta: { content }, finish_reason: finish }] });
      events(response, [chunk("begin ")]);
      await opened;
      events(response, [chunk("end", "stop")]);
      response.end("data: [DONE]\n\n");
    };
    const leader = await ask("one stream for two", { stream: true });
    const follower = await ask("one stream for two", { stream: true });
    assert.deepEqual([leader.headers.get("x-everlora-cache"), follower.headers.get("x-everlora-cache")], ["miss", "joined"]);
    const first = await follower.body?.getReader().read().then(({ value }) => new TextDecoder().decode(value as Uint8Array));
    assert.match(first ?? "", /begin/, "before the end is there");
    open();
    assert.equal(streamedText(await leader.text()), "begin end");
    assert.equal(upstream.asked.length, 1);
  });

  it("goes on for the others when the first one leaves, and is given up when all have", async () => {
    const { open, opened } = gate();
    upstream.reply = async (asked, response) => {
      await opened;
      return usual(asked, response);
    };
    const before = await joined();
    const leaving = new AbortController();
    const request = (signal: AbortSignal | null) => fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", signal, headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: JSON.stringify({ model, messages: [user("who stays?")] }) });
    const leader = request(leaving.signal).catch(() => "left");
    await until("the upstream to be asked", () => upstream.asked.length === 1);
    const follower = request(null);
    await joins(1, before);
    leaving.abort();
    assert.equal(await leader, "left");
    open();
    assert.equal(await textOf(await follower), "upstream says who stays?");
    assert.equal(upstream.asked.length, 1);
    assert.equal((await ask("who stays?")).headers.get("x-everlora-cache"), "hit-exact", "the one who stayed kept it");

    upstream.reply = () => undefined;
    const alone = new AbortController();
    const given = fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", signal: alone.signal, headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: JSON.stringify({ model, messages: [user("nobody waits")] }) }).catch(() => "left");
    await until("the upstream to be asked", () => upstream.asked.length === 2);
    alone.abort();
    await given;
    await upstream.asked[1]?.left;
  });

  it("shares a failure with those who waited, and nobody else", async () => {
    const { open, opened } = gate();
    upstream.reply = async (_asked, response) => {
      await opened;
      response.statusCode = 400;
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ error: { message: "no", type: "invalid_request_error" } }));
    };
    const before = await joined();
    const all = Promise.all([ask("it fails"), ask("it fails"), ask("it fails")]);
    await joins(2, before);
    open();
    for (const response of await all) assert.ok(response.status >= 400);
    assert.equal(upstream.asked.length, 1);
    upstream.reply = usual;
    const again = await ask("it fails");
    assert.deepEqual([again.status, again.headers.get("x-everlora-cache")], [200, "miss"]);
  });

  it("keeps apart callers, lengths and those who want a fresh answer", async () => {
    const { open, opened } = gate();
    upstream.reply = async (asked, response) => {
      await opened;
      return usual(asked, response);
    };
    const variants: { more: object; headers?: Record<string, string> }[] = [{ more: {} }, { more: { user: "ana" } }, { more: { max_tokens: 9 } }, { more: {}, headers: { "cache-control": "no-cache" } }, { more: { temperature: 0 } }];
    const all = Promise.all(variants.map(({ more, headers }) => gateway.call("/v1/chat/completions", { model, messages: [user("apart?")], ...more }, headers)));
    await until("each to be asked", () => upstream.asked.length === variants.length);
    open();
    for (const response of await all) assert.equal(response.status, 200);
  });
});

describe("single flight across processes", () => {
  let redis: TestRedis;
  let upstream: TestUpstream;
  let gateways: GatewayProcess[];

  before(async () => {
    redis = await startRedis();
    upstream = await startUpstream();
    const environment = { REDIS_URL: redis.url, UPSTREAM_URL: upstream.url, UPSTREAM_MODEL: model };
    gateways = await Promise.all([forkGateway(environment), forkGateway(environment)]);
  });
  after(async () => {
    await Promise.all(gateways.map((gateway) => gateway.end("SIGKILL")));
    await upstream.stop();
    await redis.stop();
  });

  const ask = (at: number, content: string, more: object = {}) => (gateways[at] ?? assert.fail()).ask({ model, messages: [user(content)], ...more });

  it("makes one upstream call of 50 identical misses over two gateways", async () => {
    const { open, opened } = gate();
    upstream.reply = async (asked, response) => {
      await opened;
      return usual(asked, response);
    };
    const all = Promise.all(Array.from({ length: 50 }, (_, at) => ask(at % 2, "fifty at once", at % 3 === 0 ? { stream: true } : {})));
    await until("both gateways to have all of them", async () => {
      const counts = await Promise.all(gateways.map(async ({ url }) => {
        const text = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${apiKey}` } })).text();
        return Number(/^everlora_http_requests_in_flight\S* (\d+)/m.exec(text)?.[1] ?? 0);
      }));
      return counts.every((count) => count >= 25);
    });
    open();
    const texts = await Promise.all((await all).map(async (response, at) => (at % 3 === 0 ? streamedText(await response.text()) : textOf(response))));
    assert.deepEqual([...new Set(texts)], ["upstream says fifty at once"]);
    assert.equal(upstream.asked.length, 1);
  });

  it("goes on without an owner that died", async () => {
    upstream.asked.splice(0);
    upstream.reply = () => undefined;
    const lost = ask(0, "who dies?").catch(() => "lost");
    await until("the owner to ask", () => upstream.asked.length === 1);
    upstream.reply = usual;
    const waiting = ask(1, "who dies?");
    await gateways[0]?.end("SIGKILL");
    assert.equal(await lost, "lost");
    assert.equal(await textOf(await waiting), "upstream says who dies?");
    assert.equal(upstream.asked.length, 2);
    gateways.splice(0, 1);
  });
});
