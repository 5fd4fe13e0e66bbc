import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cacheEntryPrefix } from "../../shared/events/cache_entry.ts";
import { conversationSchema } from "../../shared/events/conversation.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { startTestGateway, user, type TestGateway } from "./support/gateway.ts";

const said = async (redis: Redis) => (await redis.xrange("everlora:conversations", "-", "+")).map(([, fields]) => conversationSchema.parse(JSON.parse(fields[1] ?? "")));
const entries = (redis: Redis) => redis.keys(`${cacheEntryPrefix}*`);

async function ask(gateway: TestGateway, content: string, more: object = {}): Promise<{ cache: string | null; text: string | null | undefined }> {
  const { data, response } = await gateway.client.chat.completions.create({ model: "tiny-fake", messages: [user(content)], ...more }).withResponse();
  return { cache: response.headers.get("x-everlora-cache"), text: data.choices[0]?.message.content };
}

describe("recording", () => {
  it("puts the conversation on the stream and into the cache before the client has the answer", async () => {
    const server = await startRedis();
    const redis = await openRedis(server.url, "failFast", silentLogger);
    const gateway = await startTestGateway({ REDIS_URL: server.url });
    await ask(gateway, "what is kept?", { user: "ana" });
    const [conversation, ...more] = await said(redis);
    assert.equal(more.length, 0);
    assert.deepEqual(conversation?.messages, [user("what is kept?")]);
    assert.deepEqual(conversation.answer, { role: "assistant", content: "base says what is kept?" });
    assert.deepEqual([conversation.source, conversation.model, conversation.generation, conversation.finishReason], ["base", "tiny-fake", null, "stop"]);
    assert.match(conversation.caller, /^[0-9a-f]{64}$/);
    const [entry] = await entries(redis);
    assert.deepEqual(JSON.parse((await redis.hget(entry ?? "", "conversation")) ?? ""), conversation);
    // What was cut short is a conversation, too, but nothing to give again.
    await ask(gateway, "!words 9", { max_tokens: 2 });
    assert.equal((await said(redis)).at(-1)?.finishReason, "length");
    assert.equal((await entries(redis)).length, 1);
    assert.equal(await gateway.metric("everlora_conversations_recorded_total", { outcome: "recorded" }), 2);
    await gateway.stop();
    redis.disconnect();
    await server.stop();
  });

  it("uses two servers where there are two", async () => {
    const servers = [await startRedis(), await startRedis()] as const;
    const [queue, cache] = [await openRedis(servers[0].url, "failFast", silentLogger), await openRedis(servers[1].url, "failFast", silentLogger)];
    const gateway = await startTestGateway({ REDIS_URL: servers[0].url, CACHE_REDIS_URL: servers[1].url });
    await ask(gateway, "where is it kept?");
    assert.equal((await ask(gateway, "where is it kept?")).cache, "hit-exact");
    assert.deepEqual([(await said(queue)).length, (await entries(queue)).length], [1, 0]);
    assert.deepEqual([await cache.exists("everlora:conversations"), (await entries(cache)).length], [0, 1]);
    // Without its cache the gateway answers and records as ever.
    await cache.config("SET", "maxmemory", "1");
    assert.equal((await ask(gateway, "is there no room?")).text, "base says is there no room?");
    assert.equal((await said(queue)).length, 2);
    cache.disconnect();
    await servers[1].stop();
    assert.deepEqual(await ask(gateway, "is it gone?"), { cache: "miss", text: "base says is it gone?" });
    assert.equal((await said(queue)).length, 3);
    assert.ok((await gateway.metric("everlora_cache_requests_total", { result: "error" })) > 0);
    await gateway.stop();
    queue.disconnect();
    await servers[0].stop();
  });

  it("keeps a conversation that Redis refuses until Redis takes it", async () => {
    const server = await startRedis();
    const redis = await openRedis(server.url, "failFast", silentLogger);
    const gateway = await startTestGateway({ REDIS_URL: server.url });
    await redis.config("SET", "maxmemory", "1");
    assert.equal((await ask(gateway, "while there is no memory")).text, "base says while there is no memory");
    assert.equal((await said(redis)).length, 0);
    await redis.config("SET", "maxmemory", "0");
    await until("the conversation to come", async () => (await said(redis)).length === 1);
    assert.deepEqual((await said(redis))[0]?.messages, [user("while there is no memory")]);

    // A Redis that hangs holds nobody up for ever, and loses nothing either.
    process.kill(server.pid, "SIGSTOP");
    assert.equal((await ask(gateway, "while Redis hangs")).text, "base says while Redis hangs");
    process.kill(server.pid, "SIGCONT");
    await until("the second conversation to come", async () => (await said(redis)).some(({ messages }) => messages[0]?.content === "while Redis hangs"));
    assert.equal(await gateway.metric("everlora_conversations_recorded_total", { outcome: "lost" }), 0);
    await gateway.stop();
    redis.disconnect();
    await server.stop();
  });
});
