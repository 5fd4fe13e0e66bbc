/** What is kept, once and for ever: through kills between any two steps, a full disk, a week of absence, rejections and erasure. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { snapshotDataFile } from "../../shared/datasets/snapshots.ts";
import { datasetFile, runFile } from "../../shared/runs/run.ts";
import { publish, streams } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { group } from "../../services/collector/readers/stream.ts";
import { HashTable } from "../../services/collector/store/hash_table.ts";
import { Known } from "../../services/collector/store/known.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aboutLaw, allRows, everythingIn, foundIn, get, newFolder, say, startTestCollector, statusOf, until } from "./support.ts";

const victim = fileURLToPath(new URL("support/victim.ts", import.meta.url));

describe("what is kept", () => {
  let server: TestRedis;
  let redis: Redis;
  let folder: Awaited<ReturnType<typeof newFolder>>;
  before(async () => {
    server = await startRedis();
    redis = await openRedis(server.url, "failFast", silentLogger);
  });
  beforeEach(async () => {
    await redis.flushall();
    folder = await newFolder();
  });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });
  const collectAll = async (count: number) => {
    const collector = await startTestCollector(folder.path, server.url);
    try {
      const status = await until(() => statusOf(collector.url), (now) => foundIn(now) >= count && now.stream.idle && !now.scanner.scanning, `${count} conversations`);
      return { status, rows: await allRows(folder.path, false), report: await collector.operations.collect(undefined) };
    } finally {
      await collector.close();
    }
  };
  const legal = (count: number) => Array.from({ length: count }, (_, number) => aboutLaw(number));

  for (const step of ["before the rows", "after the rows, before the drops", "after the drops, before the acknowledgement", "after the acknowledgement", "in mid-line"]) {
    it(`is whole and single after a kill ${step}`, async () => {
      const all = legal(20);
      for (const conversation of [...all, say("junk", "Is this lease clause legal, dear lawyer?", "")]) await publish(redis, "conversations", conversation);
      const child = fork(victim, [server.url, folder.path, step], { execArgv: ["--import", "tsx"], stdio: ["ignore", "ignore", "inherit", "ipc"] });
      assert.deepEqual(await once(child, "exit"), [null, "SIGKILL"]);
      const { rows, status } = await collectAll(21);
      assert.deepEqual(rows.map(({ conversation }) => conversation).sort(), all.map(({ id }) => id).sort());
      assert.equal(foundIn(status), 21);
      assert.equal(await redis.xlen(streams.conversations.key), 0);
      await folder.remove();
    });
  }

  it("takes all that a week has left on the stream, also what a dead consumer held", async () => {
    const all = legal(120);
    // Entries whose ids, and whose conversations, are of a week ago.
    const week = Date.now() - 7 * 86_400_000;
    for (const [at, conversation] of all.entries()) await redis.xadd(streams.conversations.key, `${week + at * 1_000}-0`, "json", JSON.stringify({ ...conversation, createdAt: week + at * 1_000 }));
    await redis.xgroup("CREATE", streams.conversations.key, group, "0");
    await redis.xreadgroup("GROUP", group, "a-host-that-burnt-down", "COUNT", 50, "STREAMS", streams.conversations.key, ">");
    await redis.xclaim(streams.conversations.key, group, "a-host-that-burnt-down", 0, `${week}-0`, "IDLE", 90_000_000);
    for (const [id] of await redis.xrange(streams.conversations.key, "-", "+", "COUNT", 50)) await redis.xclaim(streams.conversations.key, group, "a-host-that-burnt-down", 0, id, "IDLE", 90_000_000);
    const { rows } = await collectAll(120);
    assert.equal(rows.length, 120);
    assert.equal(await redis.xlen(streams.conversations.key), 0);
    await folder.remove();
  });

  it("ends in order though Redis has gone, and keeps what it had", async () => {
    const other = await startRedis();
    const publisher = await openRedis(other.url, "failFast", silentLogger);
    for (const conversation of legal(5)) await publish(publisher, "conversations", conversation);
    const collector = await startTestCollector(folder.path, other.url);
    await until(() => statusOf(collector.url), (now) => foundIn(now) === 5 && now.stream.idle && !now.scanner.scanning, "5 conversations");
    publisher.disconnect();
    await other.stop();
    await until(() => get(collector.url, "/readyz"), (answer) => answer.status === 503, "the collector notices");
    await collector.close();
    assert.equal((await allRows(folder.path)).length, 5);
    await folder.remove();
  });

  it("takes a rejected answer's row out, keeps another caller's, and does not take it in afterwards", async () => {
    const caller = "c".repeat(64);
    const [first, second, third] = [{ ...aboutLaw(1), caller }, { ...aboutLaw(2), caller }, { ...aboutLaw(3), caller }];
    for (const conversation of [first, second]) await publish(redis, "conversations", conversation);
    await collectAll(2);
    await publish(redis, "feedback", { version: 1, conversation: first.id, caller, rating: "rejected", at: Date.now() });
    await publish(redis, "feedback", { version: 1, conversation: second.id, caller: "d".repeat(64), rating: "rejected", at: Date.now() });
    await publish(redis, "feedback", { version: 1, conversation: third.id, caller, rating: "rejected", at: Date.now() });
    const collector = await startTestCollector(folder.path, server.url);
    await until(() => redis.xlen(streams.feedback.key), (left) => left === 0, "the feedback is dealt with");
    for (const conversation of [first, third]) await publish(redis, "conversations", conversation);
    await until(() => redis.xlen(streams.conversations.key), (left) => left === 0, "the stream is read");
    const status = await statusOf(collector.url);
    await collector.close();
    assert.deepEqual((await allRows(folder.path)).map(({ conversation }) => conversation), [second.id]);
    assert.equal(status.domains.reduce((sum, { dropped }) => sum + (dropped["rejected"] ?? 0), 0), 2);
    await folder.remove();
  });

  it("forgets a row everywhere, names the adapters that learnt it, and does not collect it again", async () => {
    const secret = "walrus-und-zephyr";
    const told = say("told", `Does the lease contract allow a ${secret} in the flat, dear lawyer?`, "The landlord must agree in writing; a tenant should ask a lawyer about the clause.");
    for (const conversation of [...legal(8), told]) await publish(redis, "conversations", conversation);
    const { rows } = await collectAll(9);
    const row = rows.find(({ conversation }) => conversation === "told");
    assert.ok(row !== undefined);
    // A run that was trained on it, with its copy of the rows.
    const run = join(folder.path, "runs", "run-abcdefgh-012345");
    await mkdir(run, { recursive: true });
    await writeFile(join(run, datasetFile), rows.map((each) => `${JSON.stringify(each)}\n`).join(""));
    await writeFile(join(run, runFile), "{}");
    assert.ok((await everythingIn(folder.path)).includes(secret));
    const collector = await startTestCollector(folder.path, server.url);
    const dry = await collector.operations.forget({ match: secret.toUpperCase() }, true);
    assert.deepEqual([dry.rows, dry.files.length], [1, 2]);
    assert.ok((await everythingIn(folder.path)).includes(secret), "a dry run removes nothing");
    const report = await collector.operations.forget({ match: secret }, false);
    assert.deepEqual([report.rows, report.domains], [1, { legal: 1 }]);
    assert.deepEqual(report.files.map((path) => path.split("/").at(-1)), [snapshotDataFile, datasetFile]);
    await publish(redis, "conversations", told);
    await until(() => redis.xlen(streams.conversations.key), (left) => left === 0, "the stream is read");
    await assert.rejects(collector.operations.forget({}, false), /Nothing says which rows/);
    await collector.close();
    assert.ok(!(await everythingIn(folder.path)).includes(secret));
    assert.equal((await allRows(folder.path)).length, 8);
    await folder.remove();
  });

  it("never moves a row to the other side, though its cluster grows and HELD_OUT_SHARE changes", async () => {
    const opening = "Can my landlord end the lease contract about the gazebo without a court?";
    const turn = (number: number) => say(`turn-${number}`, "", "", { messages: [{ role: "user", content: opening }, ...Array.from({ length: number }, (_, at) => [{ role: "assistant" as const, content: `Answer ${at} says clause ${at * 7} of ${aboutLaw(at).id} decides.` }, { role: "user" as const, content: `And what of ${aboutLaw(at * 3 + 1).messages[0]?.content as string}` }]).flat()], answer: { role: "assistant", content: `Turn ${number}: ${aboutLaw(number * 5 + 2).answer.content as string}` } });
    const sides = async (share: string, numbers: readonly number[]) => {
      for (const number of numbers) await publish(redis, "conversations", turn(number));
      const collector = await startTestCollector(folder.path, server.url, { HELD_OUT_SHARE: share });
      await until(() => redis.xlen(streams.conversations.key), (left) => left === 0, "the stream is read");
      await collector.close();
      return new Map((await allRows(folder.path)).map(({ conversation, split }) => [conversation, split]));
    };
    const first = await sides("0.01", [0, 1]);
    const later = await sides("0.5", [2, 3]);
    assert.equal(later.size, 4);
    assert.equal(new Set(later.values()).size, 1, "all turns of one conversation are on one side");
    for (const [conversation, split] of first) assert.equal(later.get(conversation), split);
    await folder.remove();
  });
});

describe("what the store remembers", () => {
  it("is the same in memory and in a file, and grows as it must", async () => {
    const folder = await newFolder();
    const table = new HashTable({ folder: folder.path, resident: 1 << 16 });
    const expected = new Map<number, number[]>();
    for (let number = 0, hash = 1; number < 30_000; number++) {
      hash = (Math.imul(hash, 1_664_525) + 1_013_904_223) >>> 0;
      const key = number % 10 === 0 ? hash % 300 : hash;
      const there = expected.get(key) ?? [];
      if (there.length >= 20) continue;
      table.add(key, number);
      expected.set(key, [...there, number]);
    }
    for (const [key, numbers] of expected) assert.deepEqual(table.get(key).sort((a, b) => a - b), numbers);
    assert.deepEqual(table.get(4_294_967_295), []);
    table.close();
    const known = new Known({ folder: folder.path, resident: 1 << 12 });
    const keyOf = (number: number) => number.toString(16).padStart(32, "0");
    for (let number = 0; number < 5_000; number++) known.set(keyOf(number), number % 3 === 0 ? "row" : "refusal");
    known.set(keyOf(1), "row");
    assert.deepEqual([known.get(keyOf(0)), known.get(keyOf(1)), known.get(keyOf(2)), known.get(keyOf(4_999)), known.get(keyOf(5_000))], ["row", "row", "refusal", "refusal", undefined]);
    known.close();
    assert.deepEqual(await readFile(join(folder.path, "x")).catch(() => "nothing is left"), "nothing is left");
    await folder.remove();
  });
});
