/** Batches of commands: against a real server, beside ioredis' own pipelines. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { silentLogger } from "../../shared/log/log.ts";
import { Batch } from "../../shared/redis/batch.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

let server: TestRedis;
let redis: Redis;
before(async () => {
  server = await startRedis();
  redis = await openRedis(server.url, "failFast", silentLogger);
});
after(async () => {
  redis.disconnect();
  await server.stop();
});

const bytes = Buffer.from([0, 255, 13, 10, 128]);

test("each command has its own reply or error, in order, as in a pipeline", async () => {
  const batch = new Batch().add("set", "text", "ação").add("hset", "text", "field", "1").add("hset", "hash", "a", 1, "raw", bytes).add("hmget", "hash", "a", "b").add("hget", "text", "x");
  assert.equal(batch.length, 5);
  const replies = await batch.send(redis);
  const pipeline = await redis.pipeline().set("text", "ação").hset("text", "field", "1").hset("hash", "a", 1, "raw", bytes).hmget("hash", "a", "b").hget("text", "x").exec();
  assert.deepEqual(replies.map(([error, reply]) => [error?.message ?? null, reply]), pipeline?.map(([error, reply], at) => [error?.message ?? null, at === 2 ? 2 : error === null ? reply : null]));
  assert.match(replies[1]?.[0]?.message ?? "", /WRONGTYPE/);
  assert.deepEqual(await redis.hgetBuffer("hash", "raw"), bytes);
});

test("a transaction gives the replies of its commands, and one that fails leaves the others standing", async () => {
  const replies = await new Batch().add("set", "one", "1").add("hget", "one", "x").add("eval", "return redis.call('get', KEYS[1])", 1, "one").transact(redis);
  assert.deepEqual(replies.map(([error, reply]) => [error === null ? null : error.message.slice(0, 9), reply]), [[null, "OK"], ["WRONGTYPE", null], [null, "1"]]);
});

test("a transaction that the server refuses changes nothing, and says so", async () => {
  await redis.del("two");
  await assert.rejects(new Batch().add("set", "two", "1").add("nosuchcommand", "x").transact(redis), /EXECABORT/);
  assert.equal(await redis.exists("two"), 0);
});

test("nobody's command comes between those of a transaction", async () => {
  await redis.set("count", 0);
  const seen = await Promise.all(
    Array.from({ length: 50 }, async () => {
      void redis.incr("count");
      return new Batch().add("get", "count").add("set", "count", 0).add("get", "count").transact(redis);
    }),
  );
  for (const [, , last] of seen) assert.deepEqual(last, [null, "0"]);
});

test("without a connection every command has an error, and a transaction throws", async () => {
  const gone = await openRedis(server.url, "failFast", silentLogger);
  gone.disconnect();
  const replies = await new Batch().add("get", "one").add("get", "two").send(gone);
  assert.deepEqual(replies.map(([error, reply]) => [error instanceof Error, reply]), [[true, null], [true, null]]);
  await assert.rejects(new Batch().add("get", "one").transact(gone));
});
