/** A vLLM or LoRAX server in the engine's place: adapters are loaded there, requests go there, generation by generation. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type OpenAI from "openai";
import { pathsOf } from "../../shared/config/paths.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { openModelFolder } from "../../shared/models/folder.ts";
import { publishAdapter, writeLive } from "../../shared/peft/registry.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { Fleet } from "../../services/gateway/serving/fleet.ts";
import { Upstream } from "../../services/gateway/upstream/upstream.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { goLive, newDataDir, startTestGateway, user, type TestGateway } from "./support/gateway.ts";
import { startLorax, startVllm, type TestServing } from "./support/serving.ts";

const base = "everlora-tiny";

async function store(dataDir: string, domain: string, content: string): Promise<string> {
  const { sha256 } = await openModelFolder(pathsOf({ DATA_DIR: dataDir, BASE_MODEL: base }).baseModel);
  const { generation } = await publishAdapter({ loras: join(dataDir, "loras"), domain, config: { r: 1 }, weights: Buffer.from(content), base: { name: base, sha256 }, runId: "run-test-000000", heldOut: { base: 2, adapter: 1, rows: 1, tokens: 1 } });
  return generation;
}

for (const [kind, start] of [["vllm", startVllm], ["lorax", startLorax]] as const)
  describe(`a ${kind} server in the engine's place`, () => {
    let redis: TestRedis;
    let direct: Redis;
    let serving: TestServing;
    let data: Awaited<ReturnType<typeof newDataDir>>;
    let gateway: TestGateway;
    let client: OpenAI;
    let a: string;
    let b: string;

    before(async () => {
      redis = await startRedis();
      direct = await openRedis(redis.url, "failFast", silentLogger);
      serving = await start();
      data = await newDataDir();
      a = await store(data.path, "legal", "one");
      b = await store(data.path, "legal", "two");
      await writeLive(join(data.path, "loras"), "legal", { generation: a, reason: "before the start" });
      gateway = await startTestGateway({ REDIS_URL: redis.url, BASE_MODEL: base, SERVING_URL: serving.url, SERVING_API_KEY: "serving-key", SERVING_LORAS: "/mnt/loras" }, { dataDir: data.path });
      ({ client } = gateway);
    });
    after(async () => {
      await gateway.stop();
      await serving.stop();
      direct.disconnect();
      await redis.stop();
      await data.remove();
    });

    /** What the server was asked for, as it names itself in its answer. */
    const served = (generation: string | null) => (generation === null ? "org/base" : kind === "vllm" ? `legal@${generation}` : `/mnt/loras/legal/${generation}`);
    let turn = 0;
    const ask = async (model: string, more: object = {}) => {
      const content = `question ${turn++}`;
      const answer = await client.chat.completions.create({ model, messages: [user(content)], ...more } as OpenAI.ChatCompletionCreateParamsNonStreaming);
      return { who: answer.choices[0]?.message.content?.split(" serves ")[0], model: answer.model };
    };

    it("runs the base and the live adapter, which it finds where it sees the folder", async () => {
      assert.deepEqual(await ask(base), { who: served(null), model: base });
      assert.deepEqual(await ask("legal"), { who: served(a), model: `legal@${a}` });
      assert.ok([...serving.adapters.values()].includes(`/mnt/loras/legal/${a}`));
      assert.equal((await ask("auto")).who, served(null));
      const model = (await client.models.list()).data.find(({ id }) => id === base) as unknown as { max_model_len: number };
      assert.equal(model.max_model_len, kind === "vllm" ? 2048 : 1024);
    });

    it("streams, and caches as with the engine", async () => {
      let text = "";
      for await (const chunk of await client.chat.completions.create({ model: "legal", messages: [user("in pieces")], stream: true })) text += chunk.choices[0]?.delta.content ?? "";
      assert.equal(text, `${served(a)} serves in pieces`);
      const { response, data: again } = await client.chat.completions.create({ model: "legal", messages: [user("in pieces")] }).withResponse();
      assert.deepEqual([response.headers.get("x-everlora-cache"), response.headers.get("x-everlora-generation"), again.choices[0]?.message.content], ["hit-exact", a, text]);
    });

    it("follows the live pointer, and nothing of the old generation is answered any more", async () => {
      await goLive(direct, data.path, "legal", b);
      await until("the new one to be live", async () => (await client.models.list()).data.some(({ id }) => id === `legal@${b}`));
      assert.deepEqual(await ask("legal"), { who: served(b), model: `legal@${b}` });
      const { data: answer } = await client.chat.completions.create({ model: "legal", messages: [user("in pieces")] }).withResponse();
      assert.equal(answer.choices[0]?.message.content, `${served(b)} serves in pieces`);
      assert.deepEqual(await ask(`legal@${a}`), { who: served(a), model: `legal@${a}` });
      if (kind === "vllm") await until("the old one to be unloaded, but for who asked by name", () => serving.adapters.size === 2);
    });

    it("loads its adapters again after a restart, without a failed request", async () => {
      serving.restart();
      assert.equal((await ask("legal")).who, served(b));
      serving.restart();
      let text = "";
      for await (const chunk of await client.chat.completions.create({ model: "legal", messages: [user("after a restart")], stream: true })) text += chunk.choices[0]?.delta.content ?? "";
      assert.equal(text, `${served(b)} serves after a restart`);
    });

    it("compares base and adapter, without losses; takes tools; names the server in its health", async () => {
      const compared = (await (await gateway.call("/ab/compare", { messages: [user("both")], domain: "legal", reference: "x" })).json()) as Record<string, { answer: string; loss: number | null }>;
      assert.deepEqual([compared["base"]?.answer, compared["adapter"]?.answer, compared["adapter"]?.loss], [`${served(null)} serves both`, `${served(b)} serves both`, null]);
      assert.equal((await ask("legal", { tools: [{ type: "function", function: { name: "f", parameters: {} } }] })).who, served(b));
      assert.deepEqual(await (await fetch(`${gateway.url}/readyz`)).json(), { status: "ready", engine: "ready", serving: "ok" });
      if (kind === "vllm") assert.equal((await client.completions.create({ model: "legal", prompt: "on" })).choices[0]?.text, `${served(b)} serves on`);
    });

    it("takes an adapter by request, too", async () => {
      const response = await gateway.call("/v1/load_lora_adapter", { lora_name: "by-request", lora_path: `legal/${a}` });
      assert.equal(response.status, 200, await response.text());
      assert.equal((await ask("by-request")).who, served(a));
    });
  });

it("a server that never answers is named by its setting, with its own reason and not the circuit breaker's", async () => {
  const local = { name: "x", sha256: "0".repeat(64), contextLength: 8, parameters: 1 };
  const metrics = createMetrics("gateway");
  const server = new Upstream({ who: "serving", url: "http://127.0.0.1:1/v1", apiKey: undefined, model: "x", timeOuts: { connect: 5, silence: 5, total: 5 }, retries: 0, breaker: 0.5, concurrency: 8, metrics });
  const fleet = new Fleet({ url: "http://127.0.0.1:1/v1", kind: "auto", server, local, loras: undefined, log: silentLogger, betweenTriesMs: 0 });
  await assert.rejects(fleet.start(), { code: "upstream_unavailable", param: "SERVING_URL", message: /^SERVING_URL=http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/ });
  assert.equal(server.health, "resting", "the breaker had opened");
  await fleet.close();
});
