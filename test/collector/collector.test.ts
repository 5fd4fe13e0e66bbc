import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, after, before, beforeEach, describe, it } from "node:test";
import { pino } from "pino";
import type { RunningService } from "../../shared/config/lifecycle.ts";
import { cacheEntryPrefix } from "../../shared/events/cache_entry.ts";
import { fineTuneJobSchema, fineTuneQueue } from "../../shared/events/queues.ts";
import { publish, streams } from "../../shared/events/streams.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { startCollector } from "../../services/collector/collector.ts";
import { faultyKey, group } from "../../services/collector/readers/stream.ts";
import { largestEntry } from "../../services/collector/sources/source.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aboutLaw, allRows, everythingIn, foundIn, get, leaveInCache, newFolder, say, settingsFor, startTestCollector, statusOf, until } from "./support.ts";

const { key } = streams.conversations;
const many = (count: number, from = 0) => Array.from({ length: count }, (_, at) => aboutLaw(from + at));

describe("the collector", () => {
  let server: TestRedis;
  let redis: Redis;
  let folder: Awaited<ReturnType<typeof newFolder>>;
  let running: RunningService[] = [];

  before(async () => {
    server = await startRedis();
    redis = await openRedis(server.url, "failFast", silentLogger);
  });
  beforeEach(async () => {
    await redis.flushall();
    folder = await newFolder();
  });
  afterEach(async () => {
    for (const service of running.splice(0)) await service.close();
    await folder.remove();
  });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });
  const start = async (...[change, log]: [Record<string, string>?, Parameters<typeof startTestCollector>[3]?]) => {
    const service = await startTestCollector(folder.path, server.url, change, log);
    running.push(service);
    return service;
  };
  const stop = async (service: RunningService) => {
    running = running.filter((other) => other !== service);
    await service.close();
  };
  const found = (url: string, count: number) => until(() => statusOf(url), (status) => foundIn(status) >= count && status.stream.idle, `${count} found`);
  const jobs = async () => Promise.all((await redis.keys(`bull:${fineTuneQueue}:run-*`)).map(async (name) => fineTuneJobSchema.parse(JSON.parse((await redis.hget(name, "data")) ?? ""))));

  it("turns the stream into rows, acknowledges, and leaves the stream empty", async () => {
    for (const conversation of many(30)) await publish(redis, "conversations", conversation);
    const { url } = await start();
    for (const conversation of many(30, 30)) await publish(redis, "conversations", conversation);
    await found(url, 60);
    assert.equal(new Set((await allRows(folder.path)).map((row) => row.conversation)).size, 60);
    assert.equal(await redis.xlen(key), 0);
    assert.deepEqual((await redis.xpending(key, group))[0], 0);
  });

  it("takes over what a dead consumer left", async () => {
    await redis.xgroup("CREATE", key, group, "0", "MKSTREAM");
    for (const conversation of many(3)) await publish(redis, "conversations", conversation);
    const [[, entries]] = (await redis.xreadgroup("GROUP", group, "dead", "STREAMS", key, ">")) as [[string, [string, string[]][]]];
    // Held by "dead", and not touched for two minutes.
    await redis.xclaim(key, group, "dead", 0, ...entries.map(([id]) => id), "IDLE", 120_000);
    const { url } = await start();
    await found(url, 3);
    assert.equal((await allRows(folder.path)).length, 3);
    assert.deepEqual((await redis.xpending(key, group))[0], 0);
  });

  it("finds in the cache what the stream missed, without touching an entry or its time to live", async () => {
    const [first = aboutLaw(0), ...others] = many(25);
    await leaveInCache(redis, [first, ...others], 5_000);
    await publish(redis, "conversations", first);
    const times = async () => Promise.all(many(25).map(({ id }) => redis.pexpiretime(`${cacheEntryPrefix}${id}`)));
    const values = async () => Promise.all(many(25).map(({ id }) => redis.hgetall(`${cacheEntryPrefix}${id}`)));
    const [timesBefore, valuesBefore] = [await times(), await values()];
    const { url } = await start();
    await found(url, 25);
    // Come again, in the cache and later.
    await leaveInCache(redis, many(2, 100));
    await found(url, 27);
    const scanned = (await statusOf(url)).scanner.lastScan?.at ?? 0;
    const status = await until(() => statusOf(url), ({ scanner }) => (scanner.lastScan?.at ?? 0) > scanned, "another scan");
    assert.equal(foundIn(status), 27, "later scans count nothing twice");
    assert.equal((await allRows(folder.path)).length, 27);
    assert.deepEqual(await times(), timesBefore);
    assert.deepEqual(await values(), valuesBefore);
  });

  it("counts entries that are no conversations, names each once, and leaves them alone", async () => {
    const bad: Record<string, () => Promise<unknown>> = {
      text: () => redis.set(`${cacheEntryPrefix}text`, "hello"),
      notJson: () => redis.hset(`${cacheEntryPrefix}notJson`, "conversation", "{'python': True}"),
      notOne: () => redis.hset(`${cacheEntryPrefix}notOne`, "conversation", JSON.stringify({ version: 1, id: "x" })),
      noField: () => redis.hset(`${cacheEntryPrefix}noField`, "answer", "x"),
      binary: () => redis.hset(`${cacheEntryPrefix}binary`, "conversation", Buffer.from([0xff, 0xfe, 0x00])),
      giant: () => redis.hset(`${cacheEntryPrefix}giant`, "conversation", "x".repeat(largestEntry + 1)),
      "maria@example.com": () => redis.hset(`${cacheEntryPrefix}maria@example.com`, "conversation", "nothing"),
    };
    for (const make of Object.values(bad)) await make();
    await leaveInCache(redis, many(2));
    const dump = () => Promise.all(Object.keys(bad).map((name) => redis.dumpBuffer(`${cacheEntryPrefix}${name}`)));
    const before = await dump();
    const lines: string[] = [];
    const { url } = await start({}, pino({ level: "warn" }, { write: (line: string) => void lines.push(line) }));
    const first = await until(() => statusOf(url), ({ scanner, ...status }) => scanner.lastScan !== null && foundIn({ scanner, ...status }) === 2, "a scan");
    const status = await until(() => statusOf(url), ({ scanner }) => (scanner.lastScan?.at ?? 0) > (first.scanner.lastScan?.at ?? 0), "another scan");
    assert.equal(status.scanner.lastScan?.faulty, 7);
    assert.deepEqual(await dump(), before);
    const named = lines.map((line) => JSON.parse(line) as { key?: string; reason?: string }).filter((line) => line.key !== undefined);
    assert.deepEqual(named.map((line) => line.key?.slice(cacheEntryPrefix.length)).sort(), ["[EMAIL]", "binary", "giant", "noField", "notJson", "notOne", "text"]);
    assert.ok(!lines.join("").includes("maria@"));
    assert.match(await (await get(url, "/metrics")).text(), /everlora_collector_events_total\{[^}]*outcome="faulty"[^}]*\} 7/);
  });

  it("moves unreadable entries of the stream aside and goes on", async () => {
    await redis.xadd(key, "*", "json", "{broken");
    await redis.xadd(key, "*", "other", "x");
    const newer = JSON.stringify({ ...aboutLaw(1), version: 2 });
    await redis.xadd(key, "*", "json", newer);
    await publish(redis, "conversations", aboutLaw(2));
    const { url } = await start();
    const status = await found(url, 1);
    assert.equal(status.stream.faulty, 3);
    assert.equal(await redis.xlen(key), 0);
    assert.deepEqual((await redis.xrange(faultyKey, "-", "+")).map(([, fields]) => fields.slice(2)), [["json", "{broken"], ["other", "x"], ["json", newer]]);
  });

  it("drops a giant conversation and stays responsive", async () => {
    await publish(redis, "conversations", say("giant", "What does my contract say? ".repeat(80_000), "A lot."));
    await publish(redis, "conversations", say("long", `Please sum up this contract: ${"the clause of the lease says so. ".repeat(1_500)}`, "The contract says the same thing many times over, and nothing else."));
    await publish(redis, "conversations", aboutLaw(1));
    const { url } = await start();
    const status = await found(url, 3);
    const legal = status.domains.find(({ domain }) => domain === "legal");
    assert.equal(legal?.dropped["too_long"], 1);
    assert.equal(legal.found, 3);
  });

  it("asks for one job with all rows of a first scan, however many it takes", async () => {
    await leaveInCache(redis, many(230));
    const { url } = await start({ MIN_EXAMPLES_PER_DOMAIN: "20" });
    const status = await until(() => statusOf(url), ({ domains }) => domains.some(({ lastTrigger }) => lastTrigger !== null), "a trigger");
    assert.equal(status.domains.find(({ domain }) => domain === "legal")?.lastTrigger?.rows, 230);
    const asked = await jobs();
    assert.deepEqual(asked.map(({ domain, reason }) => ({ domain, reason })), [{ domain: "legal", reason: "threshold" }]);
  });

  it("says by domain what it found, kept and dropped, also after a restart", async () => {
    await leaveInCache(redis, [...many(12), say("junk", "Is this clause of the contract legal?", ""), say("m", "Sou Ana Souza, CPF 529.982.247-25, e estou com febre e tosse. Qual o remédio?", "Ana, hidrate-se e procure um médico se a febre passar de 39.")]);
    const first = await start();
    const before = await found(first.url, 14);
    await stop(first);
    const second = await start();
    const after = await found(second.url, 14);
    assert.deepEqual(after.domains, before.domains);
    const legal = after.domains.find(({ domain }) => domain === "legal");
    assert.deepEqual({ ...legal, rows: { ...legal?.rows, train: 0, heldOut: 0 } }, { domain: "legal", found: 13, rows: { total: 12, inWindow: 12, train: 0, heldOut: 0 }, needed: 1_000_000, dropped: { empty: 1 }, anonymised: {}, lastTrigger: null });
    assert.equal((legal?.rows.train ?? 0) + (legal?.rows.heldOut ?? 0), 12);
    assert.deepEqual(after.domains.find(({ domain }) => domain === "medical")?.anonymised, { NOME: 2, CPF: 1 });
    const metrics = await (await get(second.url, "/metrics")).text();
    assert.match(metrics, /everlora_dataset_rows\{domain="medical",split="(?:train|held-out)",service="collector"\} 1/);
    assert.equal((await fetch(`${second.url}/status`)).status, 401);
    assert.equal((await get(second.url, "/readyz")).status, 200);
  });

  it("goes on after connections were cut and the stream's group was lost", async () => {
    const { url } = await start();
    await publish(redis, "conversations", aboutLaw(1));
    await found(url, 1);
    const own = await redis.client("ID");
    for (const line of String(await redis.client("LIST")).split("\n")) {
      const id = /^id=(\d+)/.exec(line)?.[1];
      if (id !== undefined && Number(id) !== own) await redis.client("KILL", "ID", id);
    }
    await redis.flushall();
    await publish(redis, "conversations", aboutLaw(2));
    await leaveInCache(redis, [aboutLaw(3)]);
    await found(url, 3);
    assert.equal((await allRows(folder.path)).length, 3);
  });

  it("takes the user's domains", async () => {
    await writeFile(join(folder.path, "domains.json"), JSON.stringify([{ name: "leases", keywords: { en: { lease: 50 } } }]));
    await leaveInCache(redis, many(2));
    const { url } = await start();
    const status = await found(url, 2);
    assert.equal(status.domains.find(({ domain }) => domain === "leases")?.rows.total, 2);
    assert.match(await everythingIn(join(folder.path, "training_data", "leases")), /"domain":"leases"/);
  });

  it("says at its start what is wrong and how to mend it", async () => {
    const failure = async (settings: Parameters<typeof startCollector>[0]) => {
      const error = await startCollector(settings, silentLogger).then(
        () => assert.fail("started"),
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof EverloraError);
      return error;
    };
    const noRedis = await failure(loadSettings({ DATA_DIR: folder.path }));
    assert.deepEqual([noRedis.code, noRedis.param], ["invalid_settings", "REDIS_URL"]);
    const away = await failure(settingsFor(folder.path, "redis://127.0.0.1:1"));
    assert.equal(away.code, "redis_unavailable");
    assert.match(away.message, /127\.0\.0\.1:1/);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const port = (other.address() as AddressInfo).port;
    const taken = await failure(settingsFor(folder.path, server.url, { COLLECTOR_PORT: String(port) }));
    assert.deepEqual([taken.code, taken.param], ["port_in_use", "COLLECTOR_PORT"]);
    await new Promise((resolve) => other.close(resolve));
    // A failed start leaves no lock behind.
    await start();
  });
});
