import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { parseEntry } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { apiKey, startTestGateway, user, type TestGateway } from "./support/gateway.ts";

const adminKey = "admin-key-0123456789";

describe("removal from the cache", () => {
  let redis: TestRedis;
  let direct: Redis;
  let gateway: TestGateway;
  let other: TestGateway;

  before(async () => {
    redis = await startRedis();
    direct = await openRedis(redis.url, "failFast", silentLogger);
    [gateway, other] = await Promise.all([startTestGateway({ REDIS_URL: redis.url, CACHE_ADMIN_KEY: adminKey }), startTestGateway({ REDIS_URL: redis.url })]);
  });
  after(async () => {
    await gateway.stop();
    await other.stop();
    direct.disconnect();
    await redis.stop();
  });

  const ask = async (content: string, more: object = {}, headers: Record<string, string> = {}, at = gateway) => {
    const response = await at.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(content)], ...more }, headers);
    assert.equal(response.status, 200, await response.clone().text());
    return { cache: response.headers.get("x-everlora-cache"), conversation: response.headers.get("x-everlora-conversation") ?? "" };
  };
  const remove = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`${gateway.url}${path}`, { method: "DELETE", headers: { authorization: `Bearer ${apiKey}`, ...headers } });
    const body = (await response.json()) as { removed?: number; error?: { code: string } };
    return { status: response.status, removed: body.removed, code: body.error?.code };
  };
  const feedback = async (body: object) => {
    const response = await gateway.call("/feedback", body);
    return { status: response.status, body: (await response.json()) as { removed?: number; recorded?: boolean; error?: { code: string } } };
  };
  const streamed = async (name: "feedback" | "conversations") =>
    (await direct.xrange(`everlora:${name}`, "-", "+")).map((entry) => {
      const parsed = parseEntry(name, entry);
      return "payload" in parsed ? parsed.payload : assert.fail(parsed.fault);
    });

  it("takes an entry by the conversation's id, out of all gateways", async () => {
    const first = await ask("remove me by id please");
    await until("the other gateway to know it", async () => (await other.metric("everlora_cache_entries")) > 0);
    const size = await other.metric("everlora_cache_entries");
    assert.deepEqual(await remove(`/cache/entries/${first.conversation}`), { status: 200, removed: 1, code: undefined });
    assert.deepEqual(await remove(`/cache/entries/${first.conversation}`), { status: 404, removed: undefined, code: "cache_entry_not_found" });
    assert.equal((await ask("remove me by id please")).cache, "miss");
    await until("the other gateway to forget and learn", async () => (await other.metric("everlora_cache_entries")) >= size);
    assert.equal((await ask("Remove me by id, please!", {}, {}, other)).cache, "hit-semantic");
  });

  it("takes what was tagged, what a model said, and all of a caller's", async () => {
    await ask("tagged one", {}, { "x-everlora-cache-tags": "prices, faq" });
    await ask("tagged two", {}, { "x-everlora-cache-tags": "faq" });
    await ask("tagged three", { user: "ana" }, { "x-everlora-cache-tags": "faq" });
    assert.equal((await remove("/cache/tags/faq")).removed, 2);
    assert.deepEqual([(await ask("tagged one")).cache, (await ask("tagged three", { user: "ana" })).cache], ["miss", "hit-exact"]);
    assert.equal((await remove("/cache/models/no-such-model")).removed, 0);
    await ask("said by the model", { user: "bea" });
    assert.equal((await remove("/cache/models/tiny-fake?user=bea")).removed, 1);
    await ask("one of carl's", { user: "carl" });
    await ask("two of carl's", { user: "carl" });
    assert.equal((await remove("/cache/callers/self?user=carl")).removed, 2);
    assert.equal((await ask("tagged three", { user: "ana" })).cache, "hit-exact");
  });

  it("shows and removes nothing of another caller", async () => {
    const hers = await ask("a secret of dora's", { user: "dora" }, { "x-everlora-cache-tags": "secret" });
    const caller = (await streamed("conversations")).map((entry) => ("messages" in entry ? entry : assert.fail())).find(({ id }) => id === hers.conversation)?.caller ?? "";
    for (const path of [`/cache/entries/${hers.conversation}`, `/cache/entries/${hers.conversation}?user=eve`]) assert.equal((await remove(path)).code, "cache_entry_not_found", path);
    for (const path of ["/cache/tags/secret", "/cache/tags/secret?user=eve", "/cache/callers/self?user=eve", "/cache/models/tiny-fake?user=eve"]) assert.equal((await remove(path)).removed, 0, path);
    assert.deepEqual([(await remove(`/cache/callers/${caller}`)).code, (await remove("/cache/tags/secret", { "x-everlora-admin-key": "wrong" })).code], ["forbidden", "forbidden"]);
    assert.deepEqual((await feedback({ conversation: hers.conversation, rating: "rejected", user: "eve" })).body, { removed: 0, recorded: false });
    assert.deepEqual((await feedback({ conversation: hers.conversation, rating: "approved" })).body, { removed: 0, recorded: false });
    assert.equal((await ask("a secret of dora's", { user: "dora" })).cache, "hit-exact");
    assert.equal((await remove("/cache/tags/secret", { "x-everlora-admin-key": adminKey })).removed, 1);
    assert.equal((await ask("a secret of dora's", { user: "dora" })).cache, "miss");
    const unauthorised = await fetch(`${gateway.url}/cache/tags/secret`, { method: "DELETE" });
    assert.equal(unauthorised.status, 401);
  });

  it("removes a rejected answer, from a semantic hit too, and tells the collector whose it was", async () => {
    const first = await ask("What is the refund policy?");
    const again = await ask("what is the refund policy, please");
    assert.deepEqual([again.cache, again.conversation], ["hit-semantic", first.conversation]);
    assert.deepEqual(await feedback({ conversation: again.conversation, rating: "rejected" }), { status: 202, body: { removed: 1, recorded: false } });
    assert.equal((await ask("what is the refund policy, please")).cache, "miss");
    const said = (await streamed("conversations")).map((entry) => ("messages" in entry ? entry : assert.fail())).find(({ id }) => id === first.conversation);
    const told = (await streamed("feedback")).at(-1);
    assert.ok(told !== undefined && "rating" in told);
    assert.deepEqual([told.conversation, told.caller, told.rating], [first.conversation, said?.caller, "rejected"]);
  });

  it("makes an approved answer, and a correction, something to learn from", async () => {
    const good = await ask("an answer to approve");
    assert.deepEqual((await feedback({ conversation: good.conversation, rating: "approved" })).body, { removed: 0, recorded: true });
    const approved = (await streamed("conversations")).at(-1);
    assert.ok(approved !== undefined && "messages" in approved);
    assert.deepEqual([approved.id, approved.feedback, approved.source], [good.conversation, "approved", "base"]);
    assert.equal((await ask("an answer to approve")).cache, "hit-exact");

    const bad = await ask("an answer to correct");
    assert.deepEqual((await feedback({ conversation: bad.conversation, rating: "rejected", correction: "This is right." })).body, { removed: 1, recorded: true });
    const corrected = (await streamed("conversations")).at(-1);
    assert.ok(corrected !== undefined && "messages" in corrected);
    assert.deepEqual([corrected.answer.content, corrected.source, corrected.messages], ["This is right.", "correction", [user("an answer to correct")]]);
    assert.notEqual(corrected.id, bad.conversation);
  });

  it("refuses feedback that it can't read", async () => {
    for (const body of [{}, { conversation: "x" }, { conversation: "x", rating: "meh" }, { conversation: "x", rating: "approved", correction: "y" }, { conversation: "x", rating: "rejected", more: 1 }]) {
      const { status, body: said } = await feedback(body);
      assert.deepEqual([status, said.error?.code], [400, "invalid_request"], JSON.stringify(body));
    }
  });
});
