/** What OpenAI's API has beyond one plain chat answer, through the official client: several answers, log-probabilities, JSON, text completions, embeddings, deadlines. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import OpenAI from "openai";
import { writeLive } from "../../shared/peft/registry.ts";
import { type Redis } from "../../shared/redis/redis.ts";
import type { TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { goLive, newDataDir, startTestGateway, storeAdapter, user, type TestGateway } from "./support/gateway.ts";
import { startSite, startTaughtSite, type Site } from "./support/site.ts";
import { usual, type TestUpstream } from "./support/upstream.ts";

describe("features of the API", () => {
  let redis: TestRedis;
  let direct: Redis;
  let data: Site["data"];
  let gateway: TestGateway;
  let stop: () => Promise<void>;
  let client: OpenAI;
  let generation: string;

  before(async () => {
    ({ redis, direct, data, gateway, client, stop } = await startSite({ REQUEST_TIMEOUT: "30" }));
    generation = await storeAdapter(data.path, "legal", "one");
    await goLive(direct, data.path, "legal", generation);
    await until("the adapter to be live", async () => (await client.models.list()).data.some(({ id }) => id === "legal"));
  });
  after(() => stop());

  const ask = (more: Record<string, unknown>) => client.chat.completions.create({ model: "tiny-fake", messages: [user("hello there")], ...more } as OpenAI.ChatCompletionCreateParamsNonStreaming);
  const refused = async (work: Promise<unknown>) => {
    const error: unknown = await work.then(() => assert.fail("accepted"), (thrown: unknown) => thrown);
    assert.ok(error instanceof OpenAI.APIError, String(error));
    return error;
  };

  it("n answers, each whole, with one count of the prompt and seeds of their own", async () => {
    const { choices, usage } = await ask({ n: 3, messages: [user("!fields")], seed: 40 });
    assert.deepEqual(choices.map(({ index, finish_reason: reason }) => [index, reason]), [[0, "stop"], [1, "stop"], [2, "stop"]]);
    assert.deepEqual(choices.map(({ message }) => (JSON.parse(message.content ?? "") as { seed: number }).seed), [40, 41, 42]);
    assert.deepEqual(usage, { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 });
    // Asked for again they are made again: a cache that keeps one answer must not give it three times.
    assert.equal((await ask({ n: 2, messages: [user("!fields")] })).choices.length, 2);
  });

  it("n answers in a stream, told apart by their index", async () => {
    const texts = ["", ""];
    const ends: (string | null)[] = [null, null];
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of await client.chat.completions.create({ model: "tiny-fake", messages: [user("one two")], n: 2, stream: true, stream_options: { include_usage: true } })) {
      for (const { index, delta, finish_reason: reason } of chunk.choices) {
        texts[index] += delta.content ?? "";
        ends[index] = reason ?? ends[index] ?? null;
      }
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual([texts, ends], [["base says one two", "base says one two"], ["stop", "stop"]]);
    assert.deepEqual([usage?.prompt_tokens, usage?.completion_tokens], [2, 8]);
  });

  it("hands every field of sampling to the engine", async () => {
    const fields = { temperature: 0.7, top_p: 0.9, top_k: 40, min_p: 0.05, frequency_penalty: 0.5, presence_penalty: -0.5, repetition_penalty: 1.1, logit_bias: { "5": -100 }, seed: 7, max_completion_tokens: 5 };
    const said = JSON.parse((await ask({ messages: [user("!fields")], ...fields })).choices[0]?.message.content ?? "") as Record<string, unknown>;
    assert.deepEqual(said, { type: "generate", generation: null, temperature: 0.7, topP: 0.9, topK: 40, minP: 0.05, frequencyPenalty: 0.5, presencePenalty: -0.5, repetitionPenalty: 1.1, logitBias: { "5": -100 }, seed: 7, stop: [], maxTokens: 5 });
  });

  it("log-probabilities, whole and in a stream, and never from the cache", async () => {
    for (let time = 0; time < 2; time++) {
      const { choices } = await ask({ logprobs: true, top_logprobs: 2 });
      const content = choices[0]?.logprobs?.content ?? [];
      assert.equal(content.map(({ token }) => token).join(""), choices[0]?.message.content);
      assert.deepEqual([content[0]?.logprob, content[0]?.top_logprobs.length, content[0]?.bytes], [-0.5, 2, [...Buffer.from("base")]]);
    }
    let tokens = "";
    for await (const chunk of await client.chat.completions.create({ model: "tiny-fake", messages: [user("a b")], logprobs: true, stream: true })) tokens += (chunk.choices[0]?.logprobs?.content ?? []).map(({ token }) => token).join("");
    assert.equal(tokens, "base says a b");
  });

  it("JSON by the engine, and a clear refusal of a schema that it can't keep to", async () => {
    assert.deepEqual(JSON.parse((await ask({ response_format: { type: "json_object" } })).choices[0]?.message.content ?? ""), { said: "hello there" });
    const schema = { type: "object", properties: { said: { type: "string" } }, required: ["said"], additionalProperties: false };
    const asked = { type: "json_schema", json_schema: { name: "saying", schema, strict: true } };
    assert.deepEqual(JSON.parse((await ask({ response_format: asked })).choices[0]?.message.content ?? ""), { said: "hello there" });
    const format = { type: "json_schema", json_schema: { name: "day", schema: { type: "string", format: "date" } } };
    const error = await refused(ask({ response_format: format }));
    assert.deepEqual([error.status, error.code], [400, "invalid_request"]);
    assert.match(error.message, /keyword "?format"?/);
  });

  it("an adapter by adapter_id, as LoRAX takes it, in three spellings", async () => {
    for (const id of ["legal", `legal/${generation}`, `legal@${generation}`]) {
      const { data: answer, response } = await client.chat.completions.create({ model: "", messages: [user(`by ${id}`)], adapter_id: id } as OpenAI.ChatCompletionCreateParamsNonStreaming).withResponse();
      assert.equal(answer.choices[0]?.message.content?.split(" ")[0], generation);
      assert.equal(response.headers.get("x-everlora-arm"), id === "legal" ? "live" : "named");
    }
    assert.equal((await refused(ask({ adapter_id: "../../etc/passwd" }))).code, "model_not_found");
  });

  it("says how on errors and in streams, too", async () => {
    const error = await refused(client.chat.completions.create({ model: "legal", messages: [user("!long")] }));
    const headers = error.headers as Headers;
    assert.deepEqual([headers.get("x-everlora-domain"), headers.get("x-everlora-generation"), headers.get("x-everlora-arm"), headers.get("x-everlora-cache")], ["legal", generation, "live", "miss"]);
    assert.match(headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
    const { response } = await client.chat.completions.create({ model: "auto", messages: [user("What shall I cook?")], stream: true }).withResponse();
    assert.deepEqual([response.headers.get("x-everlora-arm"), response.headers.get("x-everlora-domain"), response.headers.get("x-everlora-generation")], ["base", "general", null]);
    assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
    await response.body?.cancel();
    const shaped = (await (await gateway.call("/v1/chat/completions", { model: "nobody", messages: [user("x")] })).json()) as { error: Record<string, unknown> };
    assert.deepEqual(Object.keys(shaped.error).sort(), ["code", "hint", "message", "param", "type"]);
    assert.equal(((await (await gateway.call("/v1/nothing")).json()) as { error: Record<string, unknown> }).error["param"], null);
  });

  it("gives up when the time is over, before and within an answer, and frees the engine", async () => {
    const file = join(data.path, "never");
    const aborted = async () => (await gateway.engineLog()).filter((line) => line === "aborted").length;
    const before = await aborted();
    const whole = await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(`!wait ${file}`)] }, { "x-everlora-timeout": "0.2" });
    assert.deepEqual([whole.status, ((await whole.json()) as { error: { code: string } }).error.code], [504, "deadline_exceeded"]);
    const stream = await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(`!hold ${file}`)], stream: true }, { "x-everlora-timeout": "0.5" });
    const events = (await stream.text()).trim().split("\n\n");
    assert.match(events.at(-1) ?? "", /"deadline_exceeded"/);
    await until("the engine to hear of it", async () => (await aborted()) === before + 2);
    assert.equal((await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user("x")] }, { "x-everlora-timeout": "soon" })).status, 400);
  });

  it("lets callers take turns: one with many requests does not keep another out", async () => {
    const busy = await startTestGateway({ REDIS_URL: redis.url, ENGINE_CONCURRENCY: "1", ENGINE_QUEUE: "4" });
    const file = join(busy.dataDir, "go");
    const by = (name: string, content: string) => busy.client.chat.completions.create({ model: "tiny-fake", messages: [user(content)], user: name });
    const order: string[] = [];
    const hog = Array.from({ length: 5 }, (_, at) => by("hog", at === 0 ? `!wait ${file}` : `hog ${at}`).then(() => void order.push(`hog ${at}`), (error: InstanceType<typeof OpenAI.APIError>) => void order.push(`hog ${error.status} ${error.headers?.get("retry-after") ?? ""}`)));
    await until("the queue to be full", async () => (await busy.metric("everlora_engine_queue")) === 4);
    const guest = by("guest", "only one").then(() => void order.push("guest"));
    await until("the hog to give one up", () => order.length === 1);
    await writeFile(file, "");
    await Promise.all([...hog, guest]);
    assert.equal(order[0], "hog 429 2");
    assert.ok(order.indexOf("guest") <= 3, order.join(", "));
    assert.equal(await busy.metric("everlora_engine_shed_total", { reason: "caller" }), 1);
    await busy.stop();
  });

  it("goes on with a text: one prompt or several, n, echo, stop, logprobs, in a stream", async () => {
    const one = await client.completions.create({ model: "tiny-fake", prompt: "once upon", max_tokens: 3 });
    assert.deepEqual([one.object, one.choices, one.usage], ["text_completion", [{ index: 0, text: "base says once", logprobs: null, finish_reason: "length" }], { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 }]);
    assert.match(one.id, /^cmpl-/);
    const more = await client.completions.create({ model: "legal", prompt: ["a", "b c"], n: 2, echo: true });
    assert.deepEqual(more.choices.map(({ index, text }) => [index, text]), [[0, `a${generation} says a`], [1, `a${generation} says a`], [2, `b c${generation} says b c`], [3, `b c${generation} says b c`]]);
    assert.deepEqual(more.usage, { prompt_tokens: 3, completion_tokens: 14, total_tokens: 17 });
    assert.equal((await client.completions.create({ model: "tiny-fake", prompt: "!words 9", stop: "w2" })).choices[0]?.text, "w0 w1");
    const { logprobs } = (await client.completions.create({ model: "tiny-fake", prompt: "x", logprobs: 1 })).choices[0] ?? {};
    assert.deepEqual(logprobs, { tokens: ["base", " says", " x"], token_logprobs: [-0.5, -0.5, -0.5], top_logprobs: [{ base: -0.5 }, { " says": -0.5 }, { " x": -0.5 }], text_offset: [0, 4, 9] });
    let text = "";
    let usage: OpenAI.CompletionUsage | undefined;
    for await (const chunk of await client.completions.create({ model: "tiny-fake", prompt: "in pieces", stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.text ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual([text, usage?.completion_tokens], ["base says in pieces", 4]);
    for (const [fields, param] of [[{ prompt: [1, 2, 3] }, "prompt"], [{ prompt: "x", suffix: "y" }, "suffix"], [{ prompt: "x", best_of: 4 }, "best_of"], [{ prompt: Array.from({ length: 9 }, () => "x") }, "prompt"], [{}, "prompt"]] as const) {
      assert.equal((await refused(client.completions.create({ model: "tiny-fake", ...fields } as unknown as OpenAI.CompletionCreateParamsNonStreaming))).param, param);
    }
  });

  it("embeds by the built-in embedding: unit vectors, near for the same words, in both encodings", async () => {
    const input = ["Como cancelo meu pedido?", "Como cancelo o meu pedido?", "The weather in Oslo"];
    const floats = (await client.embeddings.create({ model: "auto", input, encoding_format: "float" })).data.map(({ embedding }) => embedding);
    const cosine = (a: number[], b: number[]) => a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
    const [a = [], b = [], c = []] = floats;
    assert.equal(a.length, 384);
    for (const vector of floats) assert.ok(Math.abs(cosine(vector, vector) - 1) < 1e-5);
    assert.ok(cosine(a, b) > 0.9 && cosine(a, c) < 0.3, `${cosine(a, b)} ${cosine(a, c)}`);
    // The client asks for base64 by itself, and decodes it.
    const { data: decoded, model, usage } = await client.embeddings.create({ model: "ngram-384-v2", input: input[0] ?? "" });
    assert.deepEqual(decoded[0]?.embedding.map(Math.fround), a.map(Math.fround));
    assert.ok(model === "ngram-384-v2" && usage.prompt_tokens > 0);
    const short = (await client.embeddings.create({ model: "auto", input: "hello you", dimensions: 64, encoding_format: "float" })).data[0]?.embedding ?? [];
    assert.ok(short.length === 64 && Math.abs(cosine(short, short) - 1) < 1e-5);
    // Few letters fill few of the 384 slots, and politeness is no word of a question: each text has a direction all the same.
    for (const dimensions of [1, 2, 4, 383, 384]) {
      const { data } = await client.embeddings.create({ model: "auto", input: ["a", "I", "Hi!", "please", "?", " ", "\u{1f600}", "a b", "two words"], dimensions, encoding_format: "float" });
      for (const { embedding } of data) assert.ok(embedding.length === dimensions && Math.abs(cosine(embedding, embedding) - 1) < 1e-5, `${dimensions}: ${embedding.slice(0, 4).join(" ")}`);
    }
    const [like = [], alike = [], unlike = []] = (await client.embeddings.create({ model: "auto", input, dimensions: 96, encoding_format: "float" })).data.map(({ embedding }) => embedding);
    assert.ok(cosine(like, alike) > 0.85 && cosine(like, unlike) < 0.4, "folded vectors still tell texts apart");
    assert.equal((await refused(client.embeddings.create({ model: "auto", input: "x", dimensions: 1_000 }))).param, "dimensions");
    assert.equal((await refused(client.embeddings.create({ model: "text-embedding-3-small", input: "x" }))).code, "model_not_found");
    assert.equal((await refused(client.embeddings.create({ model: "auto", input: [1, 2] }))).param, "input");
  });
});

describe("features with an upstream", () => {
  let redis: TestRedis;
  let gateway: TestGateway;
  let upstream: TestUpstream;
  let stop: () => Promise<void>;
  before(async () => {
    ({ redis, gateway, upstream, stop } = await startTaughtSite());
  });
  after(() => stop());

  it("passes text completions and embeddings through, and what the engine can't do", async () => {
    const { client } = gateway;
    upstream.reply = ({ path, body }, response) => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(path.endsWith("embeddings") ? { object: "list", data: [{ object: "embedding", index: 0, embedding: [0.5, 0.25] }], model: body["model"], usage: { prompt_tokens: 1, total_tokens: 1 } } : { id: "x", object: "text_completion", created: 1, model: "teacher-2026", choices: [{ index: 0, text: " went on", finish_reason: "stop", logprobs: null }] }));
    };
    assert.equal((await client.completions.create({ model: "auto", prompt: [1, 2, 3] as unknown as string, adapter_id: null } as unknown as OpenAI.CompletionCreateParamsNonStreaming)).choices[0]?.text, " went on");
    assert.deepEqual([upstream.asked[0]?.path, upstream.asked[0]?.body], ["/v1/completions", { model: "teacher", prompt: [1, 2, 3], stream: false }]);
    const { data } = await client.embeddings.create({ model: "text-embedding-3-small", input: [7, 8], encoding_format: "float" });
    assert.deepEqual([data[0]?.embedding, upstream.asked[1]?.path, upstream.asked[1]?.body], [[0.5, 0.25], "/v1/embeddings", { model: "text-embedding-3-small", input: [7, 8], encoding_format: "float" }]);
  });

  it("hands a schema that the engine can't keep to on to the upstream, past a live adapter; one that it can, it keeps to", async () => {
    const data = await newDataDir();
    const generation = await storeAdapter(data.path, "legal", "one");
    await writeLive(join(data.path, "loras"), "legal", { generation, reason: "test" });
    const both = await startTestGateway({ REDIS_URL: redis.url, UPSTREAM_URL: upstream.url, UPSTREAM_MODEL: "teacher" }, { dataDir: data.path });
    upstream.reply = usual;
    const ask = async (model: string, schema: Record<string, unknown>) => {
      const format = { type: "json_schema", json_schema: { name: "day", schema } } as const;
      const { data: answer, response } = await both.client.chat.completions.create({ model, messages: [user("which day")], response_format: format }).withResponse();
      return [response.headers.get("x-everlora-arm"), answer.choices[0]?.message.content];
    };
    const unsupported = { type: "string", format: "date" };
    assert.deepEqual(await ask("legal", unsupported), ["upstream", "upstream says which day"]);
    assert.deepEqual(upstream.asked.at(-1)?.body["response_format"], { type: "json_schema", json_schema: { name: "day", schema: unsupported } });
    assert.equal((await ask("legal", { type: "object", properties: { said: { type: "string" } }, required: ["said"], additionalProperties: false }))[0], "live");
    // Who names the adapter or the base means just that, and is told.
    for (const model of [`legal@${generation}`, "tiny-fake"]) await assert.rejects(ask(model, unsupported), { status: 400, message: /keyword "?format"?/ });
    await both.stop();
    await data.remove();
  });
});
