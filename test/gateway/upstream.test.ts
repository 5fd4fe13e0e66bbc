import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import OpenAI from "openai";
import { conversationSchema } from "../../shared/events/conversation.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { readEvents } from "../../services/gateway/upstream/sse_reader.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { goLive, newDataDir, startTestGateway, storeAdapter, user, type TestGateway } from "./support/gateway.ts";
import { events, startUpstream, usual, type TestUpstream } from "./support/upstream.ts";

describe("upstream", () => {
  let redis: TestRedis;
  let direct: Redis;
  let upstream: TestUpstream;
  let data: Awaited<ReturnType<typeof newDataDir>>;
  let gateway: TestGateway;
  let client: OpenAI;

  before(async () => {
    redis = await startRedis();
    direct = await openRedis(redis.url, "failFast", silentLogger);
    upstream = await startUpstream();
    data = await newDataDir();
    gateway = await startTestGateway({ REDIS_URL: redis.url, UPSTREAM_URL: `${upstream.url}/`, UPSTREAM_API_KEY: "sk-upstream", UPSTREAM_MODEL: "teacher", UPSTREAM_TIMEOUT: "0.3", UPSTREAM_RETRIES: "1", UPSTREAM_BREAKER: "0" }, { dataDir: data.path });
    ({ client } = gateway);
  });
  after(async () => {
    await gateway.stop();
    await upstream.stop();
    direct.disconnect();
    await redis.stop();
    await data.remove();
  });
  beforeEach(() => {
    upstream.reply = usual;
    upstream.asked.length = 0;
  });

  let turn = 0;
  const question = () => `question ${turn++} to the teacher`;
  const ask = (content: string, more: object = {}) => client.chat.completions.create({ model: "auto", messages: [user(content)], ...more } as OpenAI.ChatCompletionCreateParamsNonStreaming);
  const stream = (content: string, more: object = {}) => client.chat.completions.create({ model: "auto", messages: [user(content)], stream: true, ...more } as OpenAI.ChatCompletionCreateParamsStreaming);
  const read = async (chunks: AsyncIterable<OpenAI.ChatCompletionChunk>) => {
    let text = "";
    for await (const chunk of chunks) text += chunk.choices[0]?.delta.content ?? "";
    return text;
  };
  const failure = async (work: Promise<unknown>) => {
    const error: unknown = await work.then(() => assert.fail("the request was accepted"), (thrown: unknown) => thrown);
    assert.ok(error instanceof OpenAI.APIError, String(error));
    return error;
  };
  const recorded = async () => (await direct.xrange("everlora:conversations", "-", "+")).map(([, fields]) => conversationSchema.parse(JSON.parse(fields[1] ?? "")));

  it("answers what no adapter covers, gets the body as it came, and teaches", async () => {
    const content = question();
    const { data: answer, response } = await client.chat.completions.create({ model: "auto", messages: [{ role: "user", content, cache_hint: "kept" }], top_k: 5, presence_penalty: 0.5 } as unknown as OpenAI.ChatCompletionCreateParamsNonStreaming).withResponse();
    assert.equal(answer.choices[0]?.message.content, `upstream says ${content}`);
    assert.deepEqual([answer.model, answer.created, answer.usage?.total_tokens], ["teacher-2026", 1_700_000_000, 7]);
    assert.equal((answer as { service_tier?: string }).service_tier, "default");
    const [asked] = upstream.asked;
    assert.deepEqual([asked?.path, asked?.authorization], ["/v1/chat/completions", "Bearer sk-upstream"]);
    assert.deepEqual(asked?.body, { model: "teacher", messages: [{ role: "user", content, cache_hint: "kept" }], top_k: 5, presence_penalty: 0.5, stream: false });
    const conversation = (await recorded()).at(-1);
    assert.deepEqual([conversation?.source, conversation?.model, conversation?.generation, conversation?.finishReason, conversation?.id], ["upstream", "teacher-2026", null, "stop", answer.id]);
    assert.equal(response.headers.get("x-everlora-conversation"), answer.id);
  });

  it("streams through, and both forms come from the cache afterwards", async () => {
    const content = question();
    assert.equal(await read(await stream(content)), `upstream says ${content}`);
    const chunks = [];
    for await (const chunk of await stream(question(), { stream_options: { include_usage: true } })) chunks.push(chunk);
    assert.equal(chunks.at(-1)?.usage?.total_tokens, 7);
    assert.equal(upstream.asked.length, 2);
    const { data: replay, response } = await client.chat.completions.create({ model: "auto", messages: [user(content)] }).withResponse();
    assert.deepEqual([response.headers.get("x-everlora-cache"), replay.choices[0]?.message.content, replay.model], ["hit-exact", `upstream says ${content}`, "teacher-2026"]);
    assert.equal(upstream.asked.length, 2);
  });

  it("sends each chunk on before the next has come", async () => {
    let goOn: (() => void) | undefined;
    upstream.reply = async (_asked, response) => {
      events(response, [{ choices: [{ index: 0, delta: { role: "assistant", content: "first" } }] }]);
      await new Promise<void>((resolve) => (goOn = resolve));
      events(response, [{ choices: [{ index: 0, delta: { content: " second" }, finish_reason: "stop" }] }]);
      response.end("data: [DONE]\n\n");
    };
    let text = "";
    for await (const chunk of await stream(question())) {
      text += chunk.choices[0]?.delta.content ?? "";
      goOn?.();
    }
    assert.equal(text, "first second");
  });

  it("is asked by its own models' names and by tools; the base's name stays the base", async () => {
    await ask(question(), { model: "gpt-17" });
    assert.equal(upstream.asked.at(-1)?.body["model"], "gpt-17");
    assert.equal((await ask(question(), { model: "tiny-fake" })).choices[0]?.message.content?.split(" ")[0], "base");
    assert.deepEqual((await client.models.list()).data.map(({ id, owned_by }) => [id, owned_by]), [["tiny-fake", "everlora"], ["auto", "everlora"], ["teacher", "upstream"]]);
  });

  it("passes tool calls in pieces, records them whole, and never caches them", async () => {
    upstream.reply = (_asked, response) => {
      const call = (delta: object, finish: string | null = null) => ({ choices: [{ index: 0, delta, finish_reason: finish }] });
      events(response, [
        call({ role: "assistant", content: null, tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name: "weather", arguments: "" } }] }),
        call({ tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] }),
        call({ tool_calls: [{ index: 0, function: { arguments: '"Recife"}' } }] }),
        call({}, "tool_calls"),
      ]);
      response.end("data: [DONE]\n\n");
    };
    const tools = [{ type: "function", function: { name: "weather", parameters: {} } }];
    const content = question();
    const final = await client.chat.completions.stream({ model: "auto", messages: [user(content)], tools: tools as OpenAI.ChatCompletionFunctionTool[] }).finalMessage();
    const expected = [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Recife"}' } }];
    assert.deepEqual(final.tool_calls?.map(({ id, type }) => ({ id, type })), [{ id: "call_1", type: "function" }]);
    const conversation = (await recorded()).at(-1);
    assert.deepEqual([conversation?.answer.tool_calls, conversation?.answer.content, conversation?.tools, conversation?.finishReason], [expected, null, tools, "tool_calls"]);
    await read(await stream(content, { tools }));
    assert.equal(upstream.asked.length, 2);
  });

  it("gives way to a live adapter, except for what the engine can't do", async () => {
    const tools = [{ type: "function", function: { name: "f", parameters: {} } }];
    const generation = await storeAdapter(data.path, "legal", "one");
    await goLive(direct, data.path, "legal", generation);
    await until("the adapter to be live", async () => (await client.models.list()).data.some(({ id }) => id === "legal"));
    assert.equal((await ask(question(), { model: "legal" })).choices[0]?.message.content?.split(" ")[0], generation);
    assert.equal((await ask(question(), { model: "legal", tools })).choices[0]?.message.content?.split(" ")[0], "upstream");
    assert.equal((await ask(question(), { model: "support" })).choices[0]?.message.content?.split(" ")[0], "upstream");
    assert.equal((await failure(ask(question(), { model: `legal@${generation}`, tools }))).param, "tools");
  });

  it("turns the upstream's refusals into ours, and keeps its key to itself", async () => {
    const cases: readonly (readonly [number, object | string, Record<string, string>, number, string])[] = [
      [400, { error: { message: "bad temperature", param: "temperature" } }, {}, 400, "invalid_request"],
      [400, { error: { message: "too long", code: "context_length_exceeded" } }, {}, 400, "context_length_exceeded"],
      [401, { error: { message: "Incorrect API key provided: sk-upstream" } }, {}, 502, "upstream_error"],
      [404, { error: { message: "no such model" } }, {}, 404, "model_not_found"],
      [429, { error: { message: "slow down" } }, { "retry-after": "17" }, 429, "rate_limited"],
      [500, "<html>oops</html>", {}, 502, "upstream_error"],
      [503, { error: "overloaded" }, {}, 502, "upstream_error"],
      [504, "", {}, 504, "upstream_timeout"],
    ];
    for (const [theirs, body, headers, ours, code] of cases)
      for (const streaming of [false, true]) {
        upstream.reply = (_asked, response) => {
          response.writeHead(theirs, headers);
          response.end(typeof body === "string" ? body : JSON.stringify(body));
        };
        const error = await failure(ask(question(), { stream: streaming }));
        assert.deepEqual([error.status, error.code], [ours, code], `${theirs}`);
        assert.doesNotMatch(error.message, /sk-upstream/);
        if (theirs === 429) assert.equal((error.headers as Headers | undefined)?.get("retry-after"), "17");
        if (theirs === 400) assert.match(error.message, /bad temperature|too long/);
      }
  });

  it("reports answers that are none", async () => {
    const answers: readonly (readonly [boolean, string, string])[] = [
      [false, "application/json", "{"],
      [false, "application/json", '{"choices":[]}'],
      [true, "application/json", '{"choices":[]}'],
      [true, "text/event-stream", "data: nonsense\n\n"],
      [true, "text/event-stream", 'data: {"choices":5}\n\n'],
      [true, "text/event-stream", ""],
    ];
    for (const [streaming, type, text] of answers) {
      upstream.reply = (_asked, response) => {
        response.setHeader("content-type", type);
        response.end(text);
      };
      const error = await failure(ask(question(), { stream: streaming }));
      assert.deepEqual([error.status, error.code], [502, "upstream_error"], text);
    }
  });

  it("gives up after a silence, before and within an answer", async () => {
    upstream.reply = () => undefined;
    const silent = await failure(ask(question()));
    assert.deepEqual([silent.status, silent.code], [504, "upstream_timeout"]);
    upstream.reply = (_asked, response) => events(response, [{ choices: [{ index: 0, delta: { content: "and then" } }] }]);
    assert.equal((await failure(read(await stream(question())))).code, "upstream_timeout");
  });

  it("passes on an error or a break in the middle as an error event, and keeps nothing of it", async () => {
    const before = (await recorded()).length;
    const part = { choices: [{ index: 0, delta: { content: "half of" } }] };
    upstream.reply = (_asked, response) => {
      events(response, [part, { error: { message: "the server fell over" } }]);
      response.end();
    };
    assert.match((await failure(read(await stream(question())))).message, /fell over/);
    upstream.reply = (_asked, response) => {
      events(response, [part]);
      response.end();
    };
    assert.match((await failure(read(await stream(question())))).message, /broke off/);
    upstream.reply = (_asked, response) => {
      events(response, [part]);
      response.write(": \n\n", () => response.destroy());
    };
    assert.match((await failure(read(await stream(question())))).message, /broke off/);
    assert.equal((await recorded()).length, before);
  });

  it("ends the upstream's work when the client leaves", async () => {
    upstream.reply = (_asked, response) => events(response, [{ choices: [{ index: 0, delta: { content: "first" } }] }]);
    for await (const _chunk of await stream(question())) break;
    await upstream.asked[0]?.left;
    upstream.reply = () => undefined;
    const leave = new AbortController();
    const whole = assert.rejects(client.chat.completions.create({ model: "auto", messages: [user(question())] }, { signal: leave.signal }), OpenAI.APIUserAbortError);
    await until("the upstream to be asked", () => upstream.asked.length === 2);
    leave.abort();
    await whole;
    await upstream.asked[1]?.left;
  });

  it("follows no redirect: the key stays where it was sent", async () => {
    upstream.reply = (_asked, response) => {
      response.writeHead(307, { location: `${upstream.url}/elsewhere` });
      response.end();
    };
    assert.equal((await failure(ask(question()))).code, "upstream_error");
    assert.equal(upstream.asked.length, 1);
  });
});

describe("an upstream that isn't there", () => {
  it("is an upstream_error, and the base still answers by its name", async () => {
    const redis = await startRedis();
    const gone = await startUpstream();
    await gone.stop();
    const gateway = await startTestGateway({ REDIS_URL: redis.url, UPSTREAM_URL: gone.url, UPSTREAM_MODEL: "teacher" });
    await assert.rejects(gateway.client.chat.completions.create({ model: "auto", messages: [user("x")] }), (error: InstanceType<typeof OpenAI.APIError>) => error.status === 502 && /ECONNREFUSED/.test(error.message));
    assert.equal((await gateway.client.chat.completions.create({ model: "tiny-fake", messages: [user("x")] })).choices[0]?.message.content, "base says x");
    await gateway.stop();
    await redis.stop();
  });
});

describe("reader of server-sent events", () => {
  const all = async (...pieces: string[]) => {
    const found = [];
    async function* texts() {
      yield* pieces;
    }
    for await (const data of readEvents(texts())) found.push(data);
    return found;
  };

  it("doesn't care how the text is cut, which line ends are used, or what else is sent", async () => {
    const text = ': hello\r\nevent: x\r\ndata: {"a":1}\r\n\r\ndata:two\ndata: lines\n\nid: 7\n\ndata: [DONE]\n\n';
    const expected = ['{"a":1}', "two\nlines", "[DONE]"];
    assert.deepEqual(await all(text), expected);
    assert.deepEqual(await all(...text), expected);
    assert.deepEqual(await all("data: [DONE]"), ["[DONE]"]);
  });
});
