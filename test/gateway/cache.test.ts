import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import type OpenAI from "openai";
import { cacheEntryPrefix } from "../../shared/events/cache_entry.ts";
import { conversationSchema, type Conversation } from "../../shared/events/conversation.ts";
import { type Redis } from "../../shared/redis/redis.ts";
import { type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { goLive, startTestGateway, storeAdapter, user, type TestGateway } from "./support/gateway.ts";
import { startSite } from "./support/site.ts";

type Fields = Record<string, unknown>;

describe("semantic cache", () => {
  let redis: TestRedis;
  let direct: Redis;
  let gateway: TestGateway;
  let stop: () => Promise<void>;

  before(async () => {
    ({ redis, direct, gateway, stop } = await startSite({ CACHE_TTL: "1000" }));
  });
  after(() => stop());

  /** One request; returns how the cache took part, and the answer's text. */
  const ask = async (content: string, fields: Fields = {}, headers: Record<string, string> = {}, at = gateway) => {
    const response = await at.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(content)], ...fields }, headers);
    const body = await response.text();
    assert.equal(response.status, 200, body);
    const text = fields["stream"] === true ? streamed(body) : (JSON.parse(body) as OpenAI.ChatCompletion).choices[0]?.message.content;
    return { cache: response.headers.get("x-everlora-cache"), similarity: Number(response.headers.get("x-everlora-similarity")), text, body, headers: response.headers };
  };
  const streamed = (body: string) =>
    body
      .split("\n\n")
      .filter((event) => event.startsWith("data: {"))
      .map((event) => (JSON.parse(event.slice(6)) as OpenAI.ChatCompletionChunk).choices[0]?.delta.content ?? "")
      .join("");
  const recorded = async () => (await direct.xrange("everlora:conversations", "-", "+")).map(([, fields]) => conversationSchema.parse(JSON.parse(fields[1] ?? "")));
  const entries = async () => (await direct.keys(`${cacheEntryPrefix}*`)).sort();

  it("answers the same request from the exact tier, with an id of its own, and records only the first", async () => {
    const first = await ask("What is the exact tier?");
    const before = (await recorded()).length;
    const second = await ask("What is the exact tier?");
    assert.deepEqual([first.cache, second.cache, second.similarity], ["miss", "hit-exact", 1]);
    assert.equal(second.text, first.text);
    const [a, b] = [first, second].map(({ body }) => JSON.parse(body) as OpenAI.ChatCompletion);
    assert.notEqual(a?.id, b?.id);
    assert.deepEqual(b?.usage, a?.usage);
    assert.deepEqual(b?.choices, a?.choices);
    assert.equal(second.headers.get("x-everlora-conversation"), a?.id);
    assert.equal((await recorded()).length, before);
  });

  it("answers the same question in other words that carry no meaning from the semantic tier", async () => {
    const first = await ask("Qual é o prazo de entrega?");
    const second = await ask("Olá! qual o prazo de entrega, por favor");
    assert.equal(second.cache, "hit-semantic");
    assert.ok(second.similarity >= 0.95 && second.similarity <= 1);
    assert.equal(second.text, first.text);
  });

  it("keeps numbers, negation and names apart, however near the vectors are", async () => {
    await ask("Can a patient of 70 kg take 500 mg of the drug for 7 days in a row?");
    assert.equal((await ask("Can a patient of 70 kg take 5000 mg of the drug for 7 days in a row?")).cache, "miss");
    assert.equal((await ask("Can a patient of 70 kg not take 500 mg of the drug for 7 days in a row?")).cache, "miss");
    assert.equal((await ask("can a patient of 70 kg take 500 mg of the drug for 7 days in a row")).cache, "hit-semantic");
  });

  it("never crosses what could change the answer", async () => {
    const question = "Which scope does this belong to?";
    const system = (content: string) => ({ messages: [{ role: "system", content }, user(question)] });
    const variants: readonly Fields[] = [
      {},
      { user: "ana" },
      { user: "bob" },
      { safety_identifier: "ana" },
      { model: "auto" },
      system("You are a lawyer."),
      system("You are a nurse."),
      { temperature: 0 },
      { temperature: 0.3 },
      { seed: 7 },
      { top_p: 0.5 },
      { stop: "zzz" },
      { response_format: { type: "text" } },
      { an_upstream_option: 1 },
    ];
    for (const variant of variants) assert.equal((await ask(question, variant)).cache, "miss", JSON.stringify(variant));
    for (const variant of variants) assert.equal((await ask(question, variant)).cache, "hit-exact", JSON.stringify(variant));
    for (const variant of variants.filter((each) => !("messages" in each))) assert.equal((await ask(question.toUpperCase(), variant)).cache, "hit-semantic", JSON.stringify(variant));
  });

  it("doesn't mind what can't change the answer", async () => {
    await ask("Does the metadata matter?");
    assert.equal((await ask("Does the metadata matter?", { metadata: { a: "b" }, stream_options: null, max_tokens: 50, n: 1 })).cache, "hit-exact");
  });

  it("serves dialogues only by exact match", async () => {
    const dialogue = (last: string) => ({ messages: [user("Who is the mayor?"), { role: "assistant", content: "Ana." }, user(last)] });
    await ask("", dialogue("How old is she?"));
    assert.equal((await ask("", dialogue("How old is she?"))).cache, "hit-exact");
    assert.equal((await ask("", dialogue("how old is she"))).cache, "miss");
    assert.equal((await ask("How old is she?")).cache, "miss");
  });

  it("replays a stream as JSON and as a stream, and JSON as a stream", async () => {
    const first = await ask("a stream comes first", { stream: true });
    const json = await ask("a stream comes first");
    const again = await ask("a stream comes first", { stream: true, stream_options: { include_usage: true } });
    assert.deepEqual([first.cache, json.cache, again.cache], ["miss", "hit-exact", "hit-exact"]);
    assert.deepEqual([json.text, again.text], [first.text, first.text]);
    assert.ok(again.body.endsWith("data: [DONE]\n\n"));
    assert.match(again.body, /"choices":\[\],"usage":\{"prompt_tokens":4,"completion_tokens":6/);
    const long = "many words ".repeat(40).trim();
    const whole = await ask(long);
    assert.equal((await ask(long, { stream: true })).text, whole.text);
  });

  it("keeps no truncated, empty or broken answer", async () => {
    const before = (await entries()).length;
    await ask("!words 9", { max_tokens: 3 });
    assert.equal((await ask("!words 9", { max_tokens: 3 })).cache, "miss");
    await ask("!empty");
    assert.equal((await ask("!empty")).cache, "miss");
    await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user("!die-streaming now")], stream: true }).then((response) => response.text());
    await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user("!long")] });
    assert.equal((await entries()).length, before);
  });

  it("gives nobody an answer longer than asked for", async () => {
    await ask("!words 12");
    assert.equal((await ask("!words 12", { max_tokens: 5 })).text, "w0 w1 w2 w3 w4");
    assert.equal((await ask("!words 12", { max_tokens: 12 })).cache, "hit-exact");
  });

  it("is left alone when the request says so", async () => {
    const before = { entries: (await entries()).length, recorded: (await recorded()).length };
    assert.equal((await ask("keep this nowhere", {}, { "cache-control": "no-store" })).cache, "bypass");
    assert.equal((await ask("keep this nowhere", { store: false })).cache, "bypass");
    assert.deepEqual({ entries: (await entries()).length, recorded: (await recorded()).length }, before);
    assert.equal((await ask("fresh please", {}, {})).cache, "miss");
    assert.equal((await ask("fresh please", {}, { "cache-control": "no-cache" })).cache, "bypass");
    assert.equal((await ask("fresh please")).cache, "hit-exact");
    assert.equal((await ask("surprise me", { temperature: 1.5 })).cache, "bypass");
    assert.equal((await ask("surprise me", { temperature: 1.5 })).cache, "bypass");
  });

  it("writes entries that expire within 95 to 100 % of the setting, and hits don't prolong them", async () => {
    await ask("how long does it live");
    const [newest] = (await recorded()).slice(-1);
    let found: string | undefined;
    for (const key of await entries()) if ((await direct.hget(key, "conversation"))?.includes(newest?.id ?? "")) found = key;
    assert.ok(found !== undefined);
    const ttl = await direct.pttl(found);
    assert.ok(ttl > 940_000 && ttl <= 1_000_000, String(ttl));
    await direct.pexpire(found, 5_000);
    assert.equal((await ask("how long does it live")).cache, "hit-exact");
    assert.ok((await direct.pttl(found)) <= 5_000);
    await direct.del(found);
    assert.equal((await ask("how LONG does it live")).cache, "miss", "the index alone answers nothing");
  });

  it("serves no entry of an application, and survives a damaged one", async () => {
    const conversation: Conversation = { version: 1, id: randomUUID(), createdAt: 1, caller: "x", messages: [user("left by an application")], answer: { role: "assistant", content: "wrong" }, source: "import", model: "m", generation: null };
    await direct.hset(`${cacheEntryPrefix}${randomUUID()}`, "conversation", JSON.stringify(conversation));
    assert.equal((await ask("left by an application")).cache, "miss");
    await ask("a sound entry");
    const [newest] = (await recorded()).slice(-1);
    for (const key of await entries()) if ((await direct.hget(key, "conversation"))?.includes(newest?.id ?? "")) await direct.hset(key, "ready", "{");
    const healed = await ask("a sound entry");
    assert.deepEqual([healed.cache, healed.text], ["miss", "base says a sound entry"]);
    await direct.set(`${cacheEntryPrefix}not-a-hash`, "text");
    const other = await startTestGateway({ REDIS_URL: redis.url });
    assert.equal((await ask("A SOUND ENTRY", {}, {}, other)).cache, "hit-semantic");
    await other.stop();
  });

  it("is shared with other gateways: what was there before, and what comes", async () => {
    await ask("Was this here before the other gateway?");
    const other = await startTestGateway({ REDIS_URL: redis.url });
    assert.equal((await ask("was this here before the other gateway", {}, {}, other)).cache, "hit-semantic");
    const size = await gateway.metric("everlora_cache_entries");
    await ask("Did the first gateway hear of this?", {}, {}, other);
    await until("the index to follow", async () => (await gateway.metric("everlora_cache_entries")) > size);
    assert.equal((await ask("did the first gateway hear of this")).cache, "hit-semantic");
    await other.stop();
  });

  it("counts what it did", async () => {
    for (const result of ["hit-exact", "hit-semantic", "miss", "bypass"]) assert.ok((await gateway.metric("everlora_cache_requests_total", { result })) > 0, result);
    assert.ok((await gateway.metric("everlora_inference_requests_total", { source: "cache", outcome: "ok" })) > 0);
  });
});

describe("cache and generations", () => {
  it("never serves the answer of another generation: A, B, A", async () => {
    const { direct, data, gateway, stop } = await startSite();
    const [a, b] = [await storeAdapter(data.path, "legal", "one"), await storeAdapter(data.path, "legal", "two")];
    const ask = async (content: string) => {
      const { data: completion, response } = await gateway.client.chat.completions.create({ model: "legal", messages: [user(content)] }).withResponse();
      return [response.headers.get("x-everlora-cache"), response.headers.get("x-everlora-generation"), completion.choices[0]?.message.content];
    };
    const live = (generation: string) => until(`${generation} to be live`, async () => (await gateway.client.models.list()).data.some(({ id }) => id === `legal@${generation}`));
    const said = (generation: string) => `${generation} says Who pays the rent?`;

    await goLive(direct, data.path, "legal", a);
    await live(a);
    assert.deepEqual(await ask("Who pays the rent?"), ["miss", a, said(a)]);
    assert.deepEqual(await ask("Who pays the rent?"), ["hit-exact", a, said(a)]);
    await goLive(direct, data.path, "legal", b);
    await live(b);
    assert.deepEqual(await ask("who pays the rent"), ["miss", b, `${b} says who pays the rent`]);
    assert.deepEqual(await ask("Who pays the rent?"), ["hit-semantic", b, `${b} says who pays the rent`]);
    await goLive(direct, data.path, "legal", a);
    await live(a);
    assert.deepEqual(await ask("Who pays the rent?"), ["hit-exact", a, said(a)]);
    await goLive(direct, data.path, "legal", null);
    await until("the base to answer again", async () => (await gateway.client.models.list()).data.every(({ id }) => !id.startsWith("legal")));
    assert.deepEqual(await ask("Who pays the rent?"), ["miss", null, "base says Who pays the rent?"]);

    await stop();
  });
});
