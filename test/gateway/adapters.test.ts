import assert from "node:assert/strict";
import { appendFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import type OpenAI from "openai";
import { publish } from "../../shared/events/streams.ts";
import { writeLive } from "../../shared/peft/registry.ts";
import type { Redis } from "../../shared/redis/redis.ts";
import { until } from "../support/wait.ts";
import { goLive, storeAdapter, user, type TestGateway } from "./support/gateway.ts";
import { startSite, type Site } from "./support/site.ts";

describe("adapters", () => {
  let direct: Redis;
  let data: Site["data"];
  let gateway: TestGateway;
  let stop: () => Promise<void>;
  let a: string;
  let b: string;

  before(async () => {
    ({ direct, data, gateway, stop } = await startSite({}, async (dataDir) => {
      a = await storeAdapter(dataDir, "legal", "one");
      b = await storeAdapter(dataDir, "legal", "two");
      await writeLive(join(dataDir, "loras"), "legal", { generation: a, reason: "before the start" });
      // A domain whose pointer leads nowhere must not keep the others from starting.
      await writeLive(join(dataDir, "loras"), "support", { generation: "0123456789ab", reason: "gone" });
    }));
  });
  after(() => stop());
  beforeEach(async () => {
    await goLive(direct, data.path, "legal", a);
    await live("legal", a);
  });

  const live = (domain: string, generation: string) => until(`${domain}@${generation} to be live`, async () => (await gateway.client.models.list()).data.some((model) => model.id === domain && (model as { root?: string }).root === `${domain}@${generation}`));
  let turn = 0;
  /** A question that no cache knows. */
  const ask = async (model: string, content = `question ${turn++}`) => (await gateway.client.chat.completions.create({ model, messages: [user(content)] })).choices[0]?.message.content?.split(" ")[0];
  const refused = (work: Promise<unknown>, code: string, status: number) => assert.rejects(work, (error: InstanceType<typeof OpenAI.APIError>) => error.code === code && error.status === status);

  it("are live from the files at start, under their domain and by generation", async () => {
    assert.deepEqual((await gateway.client.models.list()).data.map(({ id }) => id), ["tiny-fake", "auto", "legal", `legal@${a}`]);
    const model = (await gateway.client.models.retrieve("legal")) as unknown as Record<string, unknown>;
    assert.deepEqual([model["root"], model["parent"], model["max_model_len"]], [`legal@${a}`, "tiny-fake", 64]);
    assert.equal(await ask("legal"), a);
    assert.equal(await gateway.metric("everlora_adapter_info", { domain: "legal", generation: a }), 1);
  });

  it("answer for `auto` what their domain's words ask, and nothing else", async () => {
    const { data: legal, response } = await gateway.client.chat.completions.create({ model: "auto", messages: [user("Can my landlord terminate the lease contract, and what does the law and the court say about eviction?")] }).withResponse();
    assert.equal(legal.choices[0]?.message.content?.split(" ")[0], a);
    assert.equal(legal.model, `legal@${a}`);
    assert.deepEqual([response.headers.get("x-everlora-domain"), response.headers.get("x-everlora-generation")], ["legal", a]);
    assert.equal(await ask("auto", "What shall I cook for my friends tonight?"), "base");
  });

  it("are answered for by the base where a domain has none", async () => {
    assert.equal(await ask("support"), "base");
  });

  it("answer by their domain's name although no table knows it any more", async () => {
    const generation = await storeAdapter(data.path, "astronomy", "stars");
    await goLive(direct, data.path, "astronomy", generation);
    await live("astronomy", generation);
    assert.equal(await ask("astronomy"), generation);
    await goLive(direct, data.path, "astronomy", null);
    await until("it to be gone", async () => (await gateway.client.models.list()).data.every(({ id }) => id !== "astronomy"));
    await refused(ask("astronomy"), "model_not_found", 404);
  });

  it("load by name when they are not live, and stay for the next who asks", async () => {
    assert.equal((await gateway.client.models.retrieve(`legal@${b}`)).id, `legal@${b}`);
    assert.equal(await ask(`legal@${b}`), b);
    assert.equal(await ask(`legal@${b}`), b);
    assert.equal((await gateway.engineLog()).filter((line) => line === `load ${b}`).length, 1);
    assert.equal(await ask("legal"), a);
    await refused(ask("legal@ffffffffffff"), "model_not_found", 404);
    await refused(ask("legal@not-hex"), "model_not_found", 404);
    await refused(ask("..@ffffffffffff"), "model_not_found", 404);
  });

  it("keep the old generation until the last stream on it ended", async () => {
    const file = join(data.path, "hold-swap");
    const stream = await gateway.client.chat.completions.create({ model: "legal", messages: [user(`!hold ${file} through the swap`)], stream: true });
    const events = stream[Symbol.asyncIterator]();
    await events.next();
    assert.equal(await gateway.metric("everlora_adapter_leases"), 1);
    const unloads = async () => (await gateway.engineLog()).filter((line) => line === `unload ${a}`).length;
    const before = await unloads();

    await goLive(direct, data.path, "legal", b);
    await live("legal", b);
    assert.equal(await ask("legal"), b);
    assert.equal(await unloads(), before, "the stream still holds it");

    await writeFile(file, "");
    let text = "";
    for (let next = await events.next(); next.done !== true; next = await events.next()) text += next.value.choices[0]?.delta.content ?? "";
    assert.match(text, /through the swap$/);
    await until("the old generation to be let go", async () => (await unloads()) === before + 1);
    assert.equal(await gateway.metric("everlora_adapter_leases"), 0);
    assert.equal(await gateway.metric("everlora_adapter_info"), 1);
  });

  it("go live as the pointer says, whatever the bell says", async () => {
    const [said, wanted] = [await storeAdapter(data.path, "legal", "said"), await storeAdapter(data.path, "legal", "wanted")];
    await writeLive(join(data.path, "loras"), "legal", { generation: wanted, reason: "test" });
    await publish(direct, "adapters", { type: "published", domain: "legal", generation: said, at: Date.now() });
    await live("legal", wanted);
    const count = async (line: string) => (await gateway.engineLog()).filter((each) => each === line).length;
    await until("what the bell said to be dropped", async () => (await count(`unload ${said}`)) === (await count(`load ${said}`)));
    assert.equal(await ask("legal"), wanted);
    assert.equal(await ask(`legal@${said}`), said);
  });

  it("are refused when a file was changed, and the one before keeps answering", async () => {
    const bad = await storeAdapter(data.path, "legal", "three");
    await appendFile(join(data.path, "loras", "legal", bad, "adapter_model.safetensors"), "x");
    const before = await gateway.metric("everlora_adapter_loads_total", { outcome: "refused" });
    await goLive(direct, data.path, "legal", bad);
    await until("the refusal", async () => (await gateway.metric("everlora_adapter_loads_total", { outcome: "refused" })) > before);
    assert.equal(await ask("legal"), a);
    await refused(ask(`legal@${bad}`), "adapter_corrupted", 422);
    // The engine loads while the files are hashed; what turned out to be damaged doesn't stay in it.
    const log = await gateway.engineLog();
    assert.equal(log.filter((line) => line === `load ${bad}`).length, log.filter((line) => line === `unload ${bad}`).length);
    assert.equal((await gateway.call("/v1/models")).status, 200);
  });

  it("are refused in the one domain whose copy is damaged, whichever of the two is asked for first", async () => {
    const generation = await storeAdapter(data.path, "legal", "twin");
    assert.equal(await storeAdapter(data.path, "finance", "twin"), generation);
    await appendFile(join(data.path, "loras", "finance", generation, "adapter_model.safetensors"), "x");
    const good = () => ask(`legal@${generation}`);
    const bad = () => refused(ask(`finance@${generation}`), "adapter_corrupted", 422);
    const [, first] = await Promise.all([bad(), good()]);
    assert.equal(first, generation);
    await bad();
    assert.equal(await good(), generation, "what the good folder gave is still there");
  });

  it("are refused when they were trained for another base", async () => {
    const foreign = await storeAdapter(data.path, "legal", "four", "other-base");
    await refused(ask(`legal@${foreign}`), "adapter_incompatible", 422);
  });

  it("come back after the engine was killed, and streams see nothing but right generations", async () => {
    const died = join(data.path, "died");
    assert.equal(await ask("legal", `!die-once ${died}`), a);
    assert.equal(await ask("legal"), a);
  });

  it("give the domain back to the base when they can't be restored", async () => {
    const weights = join(data.path, "loras", "legal", a, "adapter_model.safetensors");
    await rm(weights);
    await ask("legal", `!die-once ${join(data.path, "died-too")}`).catch(() => undefined);
    await until("the adapter to be given up", async () => (await gateway.metric("everlora_adapter_info", { generation: a })) === 0);
    assert.equal(await ask("legal"), "base");
    await writeFile(weights, "one");
  });

  it("survive events that make no sense", async () => {
    await direct.xadd("everlora:adapters", "*", "json", "{");
    await direct.xadd("everlora:adapters", "*", "json", JSON.stringify({ type: "published", domain: "../etc", generation: a, at: 1 }));
    await direct.xadd("everlora:adapters", "*", "other", "x");
    await goLive(direct, data.path, "legal", b);
    await live("legal", b);
  });
});

describe("POST /ab/compare", () => {
  let direct: Redis;
  let gateway: TestGateway;
  let stop: () => Promise<void>;
  let generation: string;

  before(async () => {
    ({ direct, gateway, stop } = await startSite({}, async (dataDir) => {
      generation = await storeAdapter(dataDir, "legal", "one");
      await writeLive(join(dataDir, "loras"), "legal", { generation, reason: "test" });
    }));
  });
  after(() => stop());

  const compare = async (body: unknown) => {
    const response = await gateway.call("/ab/compare", body);
    return { status: response.status, body: (await response.json()) as Record<string, Record<string, unknown>> & { error?: { code: string; message: string } } };
  };

  it("gives both answers with tokens, time and loss on the reference", async () => {
    const { status, body } = await compare({ messages: [user("who pays")], domain: "legal", reference: "the tenant pays", max_tokens: 3 });
    assert.equal(status, 200);
    const { base, adapter } = body;
    assert.deepEqual([body["domain"], body["generation"], body["model"]], ["legal", generation, "tiny-fake"]);
    assert.deepEqual([base?.["answer"], adapter?.["answer"]], ["base says who", `${generation} says who`]);
    assert.deepEqual([base?.["loss"], adapter?.["loss"], base?.["reference_tokens"]], [2.5, 1.5, 3]);
    assert.deepEqual([base?.["tokens"], base?.["finish_reason"]], [{ prompt: 2, completion: 3 }, "length"]);
    assert.ok(Number(adapter?.["latency_ms"]) >= Number(adapter?.["first_token_ms"]));
  });

  it("finds the domain by the words or by the generation, and needs no reference", async () => {
    const byWords = await compare({ messages: [user("My landlord wants to break the lease contract; what does the law and the court say?")] });
    assert.deepEqual([byWords.status, byWords.body["domain"], byWords.body["base"]?.["loss"]], [200, "legal", null]);
    assert.equal((await compare({ messages: [user("hello")], generation })).body["domain"], "legal");
  });

  it("is neither cached nor recorded", async () => {
    assert.deepEqual(await direct.keys("*"), []);
  });

  it("says what is wrong with a body", async () => {
    const cases: readonly (readonly [unknown, number, string])[] = [
      [{}, 400, "invalid_request"],
      [{ messages: [user("x")], domian: "legal" }, 400, "invalid_request"],
      [{ messages: [user("x")], max_tokens: 0 }, 400, "invalid_request"],
      [{ messages: [{ role: "tool", content: "x" }] }, 400, "invalid_request"],
      [{ messages: [user("x")], domain: "astrology" }, 404, "unknown_domain"],
      [{ messages: [user("x")], domain: "medical" }, 404, "adapter_not_found"],
      [{ messages: [user("x")], domain: "legal", generation: "ffffffffffff" }, 404, "model_not_found"],
      [{ messages: [user("!long")], domain: "legal" }, 400, "context_length_exceeded"],
    ];
    for (const [body, status, code] of cases) {
      const reply = await compare(body);
      assert.deepEqual([reply.status, reply.body.error?.code], [status, code], JSON.stringify(body));
    }
    assert.match((await compare({ messages: [user("x")], domian: "legal" })).body.error?.message ?? "", /domian/);
  });
});
