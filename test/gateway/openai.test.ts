/** The gateway as the official `openai` client sees it. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import OpenAI from "openai";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { apiKey, newDataDir, startTestGateway, user, type TestGateway } from "./support/gateway.ts";

describe("chat completions through the openai client", () => {
  let redis: TestRedis;
  let gateway: TestGateway;
  let client: OpenAI;

  before(async () => {
    redis = await startRedis();
    gateway = await startTestGateway({ REDIS_URL: redis.url, ENGINE_CONCURRENCY: "2", ENGINE_QUEUE: "0", MAX_MESSAGES: "5", MAX_PROMPT_CHARACTERS: "2000", MAX_BODY_BYTES: "10000" });
    ({ client } = gateway);
  });
  after(async () => {
    await gateway.stop();
    await redis.stop();
  });

  const failure = async (work: Promise<unknown>) => {
    try {
      await work;
    } catch (error) {
      assert.ok(error instanceof OpenAI.APIError, String(error));
      return error;
    }
    throw new assert.AssertionError({ message: "the request was accepted" });
  };
  const ask = (more: Record<string, unknown>) => client.chat.completions.create({ model: "tiny-fake", messages: [user("hello there")], ...more } as OpenAI.ChatCompletionCreateParamsNonStreaming);

  it("answers as JSON, and says by headers how", async () => {
    const { data, response } = await client.chat.completions.create({ model: "tiny-fake", messages: [{ role: "developer", content: "Be brief." }, user("how are you")] }).withResponse();
    assert.equal(data.object, "chat.completion");
    assert.match(data.id, /^chatcmpl-/);
    assert.ok(Math.abs(data.created - Date.now() / 1000) < 60);
    assert.deepEqual(data.choices, [{ index: 0, message: { role: "assistant", content: "base says how are you", refusal: null }, logprobs: null, finish_reason: "stop" }]);
    assert.deepEqual(data.usage, { prompt_tokens: 5, completion_tokens: 5, total_tokens: 10 });
    assert.equal(data.model, "tiny-fake");
    assert.equal(response.headers.get("x-everlora-cache"), "miss");
    assert.equal(response.headers.get("x-everlora-generation"), null);
    assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
  });

  it("streams a role, the text, a finish reason and [DONE], and usage only when asked", async () => {
    const plain = [];
    for await (const chunk of await client.chat.completions.create({ model: "tiny-fake", messages: [user("one two")], stream: true })) plain.push(chunk);
    assert.deepEqual(plain.map((chunk) => chunk.choices[0]?.delta), [{ role: "assistant", content: "" }, { content: "base" }, { content: " says" }, { content: " one" }, { content: " two" }, {}]);
    assert.deepEqual(plain.map((chunk) => chunk.choices[0]?.finish_reason), [null, null, null, null, null, "stop"]);
    assert.equal(new Set(plain.map((chunk) => chunk.id)).size, 1);
    assert.ok(plain.every((chunk) => chunk.object === "chat.completion.chunk" && !("usage" in chunk)));

    const raw = await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user("three")], stream: true, stream_options: { include_usage: true } });
    assert.match(raw.headers.get("content-type") ?? "", /^text\/event-stream/);
    const events = (await raw.text()).split("\n\n").filter((event) => event !== "");
    assert.equal(events.pop(), "data: [DONE]");
    const chunks = events.map((event) => JSON.parse(event.slice("data: ".length)) as OpenAI.ChatCompletionChunk);
    assert.deepEqual(chunks.pop()?.usage, { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 });
    assert.ok(chunks.every((chunk) => chunk.usage === null));
  });

  it("knows the client's own streaming helper", async () => {
    const final = await client.chat.completions.stream({ model: "auto", messages: [user("helper")] }).finalContent();
    assert.equal(final, "base says helper");
  });

  it("honours max_tokens, max_completion_tokens and stop, and takes text parts", async () => {
    const short = await ask({ messages: [user("!words 9")], max_tokens: 3 });
    assert.deepEqual([short.choices[0]?.message.content, short.choices[0]?.finish_reason], ["w0 w1 w2", "length"]);
    assert.equal((await ask({ messages: [user("!words 9")], max_completion_tokens: 2, max_tokens: 7 })).usage?.completion_tokens, 2);
    assert.equal((await ask({ messages: [user("!words 9")], stop: "w4" })).choices[0]?.message.content, "w0 w1 w2 w3");
    assert.equal((await ask({ messages: [{ role: "user", content: [{ type: "text", text: "in " }, { type: "text", text: "parts" }] }] })).choices[0]?.message.content, "base says in parts");
    // The context bounds what nobody bounded.
    assert.equal((await ask({ messages: [user("!words 100")] })).usage?.completion_tokens, 64);
  });

  it("ignores unknown fields and nulls", async () => {
    assert.equal((await ask({ something_new: { deep: 1 }, temperature: null, stop: null, n: null, tools: [] })).choices.length, 1);
  });

  it("refuses bad input in OpenAI's shape, naming the field", async () => {
    const cases: readonly (readonly [Record<string, unknown>, string, string])[] = [
      [{ model: undefined }, "model", "invalid_request"],
      [{ messages: [] }, "messages", "invalid_request"],
      [{ messages: "hello" }, "messages", "invalid_request"],
      [{ messages: [{ role: "robot", content: "x" }] }, "messages.0.role", "invalid_request"],
      [{ messages: [{ role: "user", content: null }] }, "messages.0.content", "invalid_request"],
      [{ messages: [{ role: "system", content: "only rules" }] }, "messages", "invalid_request"],
      [{ messages: Array.from({ length: 6 }, () => user("x")) }, "messages", "invalid_request"],
      [{ messages: [user("x".repeat(2001))] }, "messages", "context_length_exceeded"],
      [{ n: 9 }, "n", "invalid_request"],
      [{ n: 0 }, "n", "invalid_request"],
      [{ top_logprobs: 3 }, "top_logprobs", "invalid_request"],
      [{ logprobs: true, top_logprobs: 21 }, "top_logprobs", "invalid_request"],
      [{ max_tokens: 1_000_000 }, "max_tokens", "invalid_request"],
      [{ temperature: 3 }, "temperature", "invalid_request"],
      [{ top_p: -1 }, "top_p", "invalid_request"],
      [{ max_tokens: 0 }, "max_tokens", "invalid_request"],
      [{ stop: ["a", "b", "c", "d", "e"] }, "stop", "invalid_request"],
      [{ stop: "" }, "stop", "invalid_request"],
      [{ tools: [{ type: "function", function: { name: "f" } }] }, "tools", "invalid_request"],
      [{ response_format: { type: "grammar", grammar: "x" } }, "response_format", "invalid_request"],
      [{ response_format: { type: "json_schema" } }, "response_format", "invalid_request"],
      [{ response_format: { type: "json_schema", json_schema: { name: "bad name", schema: {} } } }, "response_format", "invalid_request"],
      [{ modalities: ["text", "audio"] }, "modalities", "invalid_request"],
      [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "https://example.org/a.png" } }] }] }, "messages", "invalid_request"],
    ];
    for (const [fields, param, code] of cases) {
      const error = await failure(ask(fields));
      assert.equal(error.status, 400, JSON.stringify(fields));
      assert.deepEqual([error.param, error.code, error.type], [param, code, "invalid_request_error"], JSON.stringify(fields));
    }
    assert.equal((await failure(ask({ messages: [user("!long")] }))).code, "context_length_exceeded");
  });

  it("has the right status for key, body and route", async () => {
    assert.equal((await failure(new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "wrong-key-000000000", maxRetries: 0 }).models.list())).status, 401);
    assert.equal((await fetch(`${gateway.url}/v1/models`)).status, 401);
    assert.equal((await gateway.call("/v1/chat/completions", { model: "auto", messages: [user("y".repeat(20_000))] })).status, 413);
    assert.equal((await gateway.call("/v1/nothing")).status, 404);
    const broken = await fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${client.apiKey}`, "content-type": "application/json" }, body: "{" });
    assert.equal(broken.status, 400);
    const unknown = await failure(ask({ model: "gpt-17" }));
    assert.deepEqual([unknown.status, unknown.code, unknown.param], [404, "model_not_found", "model"]);
  });

  it("lists the models and describes one", async () => {
    const models = (await client.models.list()).data;
    assert.deepEqual(models.map(({ id }) => id), ["tiny-fake", "auto"]);
    const base = await client.models.retrieve("tiny-fake");
    assert.deepEqual({ ...base, created: 0 }, { id: "tiny-fake", object: "model", created: 0, owned_by: "everlora", root: "tiny-fake", parent: null, max_model_len: 64 } as unknown as OpenAI.Model);
    assert.equal((await failure(client.models.retrieve("gpt-17"))).status, 404);
  });

  it("frees the engine when the client leaves, in JSON and in a stream", async () => {
    const file = join(gateway.dataDir, "never");
    const count = async () => (await gateway.engineLog()).filter((line) => line === "aborted").length;
    const stream = await client.chat.completions.create({ model: "tiny-fake", messages: [user(`!hold ${file} a`)], stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content === "!hold" || chunk.choices[0]?.delta.content === "base") break; // leaving the loop aborts
    await until("the engine to hear of it", async () => (await count()) === 1);
    const leave = new AbortController();
    const whole = client.chat.completions.create({ model: "tiny-fake", messages: [user(`!hold ${file} b`)] }, { signal: leave.signal });
    const refused = assert.rejects(whole, OpenAI.APIUserAbortError);
    await until("the engine to work on it", async () => (await gateway.metric("everlora_http_requests_in_flight")) > 1); // this look itself is one
    leave.abort();
    await refused;
    await until("the engine to hear of it", async () => (await count()) === 2);
    await until("both to be counted", async () => (await gateway.metric("everlora_inference_requests_total", { outcome: "aborted" })) === 2);
  });

  it("answers 503 with Retry-After when the queue is full", async () => {
    const file = join(gateway.dataDir, "full");
    const holds = await Promise.all([1, 2].map((at) => client.chat.completions.create({ model: "tiny-fake", messages: [user(`!hold ${file} full ${at}`)], stream: true })));
    const error = await failure(ask({ messages: [user("one too many")] }));
    assert.deepEqual([error.status, error.code], [503, "overloaded"]);
    assert.ok(Number((error.headers as Headers | undefined)?.get("retry-after")) > 0);
    await writeFile(file, "");
    for (const stream of holds) for await (const _chunk of stream);
  });

  it("ends a stream with an error event when the engine dies in the middle, and goes on", async () => {
    const stream = await client.chat.completions.create({ model: "tiny-fake", messages: [user("!die-streaming a b c")], stream: true });
    const error = await failure(
      (async () => {
        for await (const _chunk of stream);
      })(),
    );
    assert.equal(error.code, "engine_unavailable");
    assert.equal((await ask({ messages: [user("still here")] })).choices[0]?.message.content, "base says still here");
  });
});

describe("a gateway that is not ready", () => {
  it("is healthy, says why it isn't ready, and answers 503 until it is", async () => {
    const redis = await startRedis();
    const data = await newDataDir();
    let starting: Promise<TestGateway> | undefined;
    const url = await new Promise<string>((resolve, reject) => {
      starting = startTestGateway({ REDIS_URL: redis.url, BASE_MODEL: "slow" }, { dataDir: data.path, onListening: resolve });
      starting.catch(reject);
    });
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    const unready = await fetch(`${url}/readyz`);
    assert.equal(unready.status, 503);
    assert.match(((await unready.json()) as { reason: string }).reason, /loading the base model/);
    const early = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: JSON.stringify({ model: "auto", messages: [user("x")] }) });
    assert.equal(early.status, 503);
    assert.equal(((await early.json()) as { error: { code: string } }).error.code, "engine_unavailable");
    await writeFile(join(data.path, "start"), "");
    const gateway = await starting;
    assert.ok(gateway !== undefined);
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
    await gateway.stop();
    await redis.stop();
    await data.remove();
  });

  it("doesn't start with a broken model folder, without Redis, or with half an upstream", async () => {
    const redis = await startRedis();
    await assert.rejects(startTestGateway({ REDIS_URL: redis.url, BASE_MODEL: "broken" }), { code: "invalid_model_folder", message: "broken/config.json is missing." });
    await assert.rejects(startTestGateway({ REDIS_URL: redis.url, UPSTREAM_URL: "http://127.0.0.1:9/v1" }), { code: "invalid_settings", param: "UPSTREAM_MODEL" });
    await redis.stop();
    await assert.rejects(startTestGateway({ REDIS_URL: redis.url }), { code: "redis_unavailable" });
    await assert.rejects(startTestGateway({}), { code: "invalid_settings", param: "REDIS_URL" });
  });
});
