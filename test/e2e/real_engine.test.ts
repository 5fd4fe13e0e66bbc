/**
 * The gateway with its real engine and the bundled base model, driven by the official client: answers, scores, and a second adapter that goes
 * live while the first one streams. Only the adapters' numbers are made up here.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { startGateway } from "../../services/gateway/gateway.ts";
import type { RunningService } from "../../shared/config/lifecycle.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { publish } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openModelFolder, type ModelFolder } from "../../shared/models/folder.ts";
import { createRandom } from "../../shared/models/random.ts";
import { allTargets, encodeAdapterWeights, modulesOf } from "../../shared/peft/adapter.ts";
import { createPeftConfig } from "../../shared/peft/config.ts";
import { publishAdapter, writeLive } from "../../shared/peft/registry.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

const key = "test-key-0123456789";
let [server, bell, gateway, dataDir] = [undefined, undefined, undefined, ""] as [TestRedis | undefined, Redis | undefined, RunningService | undefined, string];
let model: ModelFolder;
let client: OpenAI;

before(async () => {
  server = await startRedis();
  dataDir = await mkdtemp(join(tmpdir(), "everlora-e2e-"));
  const settings = loadSettings({ DATA_DIR: dataDir, BASE_MODEL: process.env["TEST_BASE_MODEL"], REDIS_URL: server.url, EVERLORA_API_KEY: key, GATEWAY_PORT: "0", LOG_LEVEL: "silent" });
  model = await openModelFolder(pathsOf(settings).baseModel);
  bell = await openRedis(server.url, "failFast", silentLogger);
  gateway = await startGateway(settings, silentLogger);
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: key, maxRetries: 0 });
});
after(async () => {
  await gateway?.close();
  bell?.disconnect();
  await server?.stop();
  await rm(dataDir, { recursive: true, force: true });
});

/** An adapter with random numbers, large enough to change every answer. */
async function goLive(domain: string, seed: number): Promise<string> {
  const random = createRandom(seed);
  const rank = 16;
  const noise = (length: number, spread: number) => new Float32Array(length).map(() => spread * random.normal());
  const modules = new Map(modulesOf(model.config, allTargets(model.config)).map(({ name, inputs, outputs }) => [name, { A: noise(rank * inputs, 0.05), B: noise(outputs * rank, 0.05), rank, inputs, outputs }] as const));
  const loras = join(dataDir, "loras");
  const config = createPeftConfig({ rank, alpha: 32, targetModules: allTargets(model.config), baseModel: basename(model.folder) });
  const { generation } = await publishAdapter({ loras, domain, config, weights: encodeAdapterWeights(modules), base: { name: model.name, sha256: model.sha256 }, runId: `run-test-${seed}00000`, heldOut: { base: 2, adapter: 1, rows: 1, tokens: 1 } });
  await writeLive(loras, domain, { generation, reason: "test" });
  if (bell !== undefined) await publish(bell, "adapters", { type: "published", domain, generation, at: Date.now() });
  return generation;
}

const ask = (name: string, content: string, more: { seed?: number } = {}) => client.chat.completions.create({ model: name, messages: [{ role: "user", content }], max_tokens: 12, temperature: 0, ...more }).withResponse();

/** Asks new questions, so that no cache can answer, until the domain is answered by the generation. */
async function untilAnsweredBy(domain: string, generation: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (let at = 0; ; at++) {
    const { response } = await ask(domain, `Question number ${at} about the ${generation}?`).catch((error: unknown) => {
      if (error instanceof OpenAI.APIError && error.status === 404) return { response: undefined };
      throw error;
    });
    if (response?.headers.get("x-everlora-generation") === generation) return;
    assert.ok(Date.now() < deadline, `${domain} was not answered by ${generation} in 30 s`);
  }
}

test("the base answers, counts its tokens, and the same seed gives the same answer", async () => {
  const { data, response } = await ask(model.name, "What is a database index?");
  assert.ok((data.choices[0]?.message.content ?? "").length > 0);
  assert.ok((data.usage?.prompt_tokens ?? 0) > 5);
  assert.equal(data.usage?.total_tokens, (data.usage?.prompt_tokens ?? 0) + (data.usage?.completion_tokens ?? 0));
  assert.equal(response.headers.get("x-everlora-cache"), "miss");
  const again = await Promise.all([1, 2].map((user) => client.chat.completions.create({ model: model.name, messages: [{ role: "user", content: "Tell me a story." }], max_tokens: 12, temperature: 1, seed: 7, user: `someone-${user}` })));
  assert.equal(again[0]?.choices[0]?.message.content, again[1]?.choices[0]?.message.content);
});

test("a second adapter goes live while the first one streams: the stream ends without an error, on its own generation", async () => {
  const first = await goLive("support", 1);
  await untilAnsweredBy("support", first);
  const { data: stream, response } = await client.chat.completions.create({ model: "support", messages: [{ role: "user", content: "Write me something long about my order." }], max_tokens: 400, temperature: 1, seed: 5, stream: true, stream_options: { include_usage: true } }).withResponse();
  assert.equal(response.headers.get("x-everlora-generation"), first);
  let [text, finish, tokens, swapped, streaming] = ["", null as string | null, 0, undefined as Promise<string> | undefined, true];
  let swappedWhileStreaming = false;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    tokens = chunk.usage?.completion_tokens ?? tokens;
    // The swap begins when text has come, and its first answers are given between this stream's tokens.
    if (text.length > 0) {
      swapped ??= goLive("support", 2).then(async (generation) => {
        await untilAnsweredBy("support", generation);
        swappedWhileStreaming = streaming;
        return generation;
      });
    }
  }
  streaming = false;
  const second = await swapped;
  assert.ok(finish === "stop" || finish === "length", `it finished with ${finish}`);
  assert.ok(tokens > 1);
  assert.ok(swappedWhileStreaming, `the stream was over after ${tokens} tokens, before the second adapter answered`);
  assert.notEqual(second, first);
  const { response: later } = await ask("support", "And what now, after the stream?");
  assert.equal(later.headers.get("x-everlora-generation"), second);
});

test("compare gives both answers, and a loss on the reference that an adapter changes", async () => {
  const generation = await goLive("legal", 3);
  await untilAnsweredBy("legal", generation);
  const response = await fetch(`${gateway?.url}/ab/compare`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: JSON.stringify({ messages: [{ role: "user", content: "What is a contract?" }], domain: "legal", reference: "A contract is an agreement that the law enforces.", max_tokens: 8 }) });
  const body = (await response.json()) as { generation: string; base: { loss: number }; adapter: { loss: number } };
  assert.equal(response.status, 200);
  assert.equal(body.generation, generation);
  assert.ok(body.base.loss > 0 && body.adapter.loss > 0);
  assert.notEqual(body.base.loss, body.adapter.loss);
});
