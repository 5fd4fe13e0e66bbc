/** The gateway as LangChain's own client for OpenAI sees it. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ChatOpenAI, OpenAI as OpenAIText, OpenAIEmbeddings } from "@langchain/openai";
import { apiKey, type TestGateway } from "./support/gateway.ts";
import { startTaughtSite } from "./support/site.ts";
import { type TestUpstream } from "./support/upstream.ts";

describe("@langchain/openai", () => {
  let gateway: TestGateway;
  let upstream: TestUpstream;
  let stop: () => Promise<void>;
  before(async () => {
    ({ gateway, upstream, stop } = await startTaughtSite());
  });
  after(() => stop());
  const options = (model: string) => ({ model, apiKey, maxRetries: 0, configuration: { baseURL: `${gateway.url}/v1` } });

  it("invokes, counts tokens, and streams", async () => {
    const chat = new ChatOpenAI({ ...options("tiny-fake"), temperature: 0 });
    const answer = await chat.invoke([["system", "Be brief."], ["human", "how are you"]]);
    assert.equal(answer.content, "base says how are you");
    const counted = answer.usage_metadata as { input_tokens: number; output_tokens: number } | undefined;
    assert.deepEqual([counted?.input_tokens, counted?.output_tokens, answer.response_metadata["finish_reason"]], [5, 5, "stop"]);
    const pieces: string[] = [];
    for await (const chunk of await chat.stream("in pieces")) if (typeof chunk.content === "string" && chunk.content !== "") pieces.push(chunk.content);
    assert.deepEqual(pieces, ["base", " says", " in", " pieces"]);
    assert.deepEqual((await chat.batch(["a", "b"])).map(({ content }) => content), ["base says a", "base says b"]);
  });

  it("structured output through the engine's JSON", async () => {
    const schema = { title: "Saying", type: "object", properties: { said: { type: "string" } }, required: ["said"], additionalProperties: false };
    const chat = new ChatOpenAI(options("tiny-fake")).withStructuredOutput<{ said: string }>(schema, { name: "saying", method: "jsonSchema" });
    assert.deepEqual(await chat.invoke("hello"), { said: "hello" });
  });

  it("calls tools of the upstream", async () => {
    upstream.reply = ({ body }, response) => {
      assert.equal((body["tools"] as { function: { name: string } }[])[0]?.function.name, "weather");
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ id: "x", object: "chat.completion", created: 1, model: "teacher", choices: [{ index: 0, finish_reason: "tool_calls", message: { role: "assistant", content: null, tool_calls: [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Recife"}' } }] } }] }));
    };
    const chat = new ChatOpenAI(options("auto")).bindTools([{ type: "function", function: { name: "weather", description: "the weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }]);
    const answer = await chat.invoke("How is the weather in Recife?");
    assert.deepEqual(answer.tool_calls?.map(({ name, args }) => [name, args]), [["weather", { city: "Recife" }]]);
  });

  it("text completions and embeddings", async () => {
    assert.equal(await new OpenAIText({ ...options("tiny-fake"), maxTokens: 8 }).invoke("once upon"), "base says once upon");
    const embeddings = new OpenAIEmbeddings(options("auto"));
    const [first] = await embeddings.embedDocuments(["one text", "another text"]);
    assert.equal(first?.length, 384);
    assert.deepEqual((await embeddings.embedQuery("one text")).map(Math.fround), first.map(Math.fround));
  });

  it("raises the gateway's errors as its own", async () => {
    await assert.rejects(new ChatOpenAI(options("tiny-fake")).invoke("!long"), (error: Error & { status?: number }) => error.status === 400 && /5000 tokens/.test(error.message));
  });
});
