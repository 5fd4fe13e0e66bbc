/** collect, forget, anonymise and domains as a user runs them: real processes, a real Redis, real files. */
import assert from "node:assert/strict";
import { access, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { collectReportSchema, forgetReportSchema } from "../../shared/datasets/commands.ts";
import { readManifest } from "../../shared/datasets/snapshots.ts";
import { callerOf } from "../../shared/events/caller.ts";
import { sha256 } from "../../shared/events/conversation.ts";
import { enqueueFineTune, type TrainingOverrides } from "../../shared/events/queues.ts";
import { publish, streams } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis } from "../../shared/redis/redis.ts";
import { Bench } from "../trainer/support/bench.ts";
import { aboutLaw, allRows, apiKey, everythingIn, startTestCollector } from "../collector/support.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { chatLine, newData, run } from "./data_support.ts";

const day = 86_400_000;

test("collect takes what a week left on the stream, once; with a collector running, the commands go through that one", async (t) => {
  const data = await newData(t);
  const server = await startRedis();
  const redis = await openRedis(server.url, "failFast", silentLogger);
  try {
    // Half of it said six days ago, while no collector was there.
    for (let number = 0; number < 12; number++) {
      const at = Date.now() - (number < 6 ? 6 * day : 60_000) + number * 1_000;
      await redis.xadd(streams.conversations.key, `${at}-0`, "json", JSON.stringify(aboutLaw(number, { createdAt: at })));
    }
    // Another program's cache beside it, with a time to live.
    await redis.hset(`llmcache:${"a".repeat(64)}`, { entry_id: "a".repeat(64), prompt: "May a tenant end a lease contract early?", response: "Yes, with the notice that the lease clause names; a lawyer can tell.", inserted_at: String(Date.now() / 1_000) });
    await redis.expire(`llmcache:${"a".repeat(64)}`, 5_000);
    await redis.set("e".repeat(64), JSON.stringify({ timestamp: 1, response: "{\"choices\": [{\"message\": {\"content\": \"x\", \"role\": \"assistant\"}}]}" }));
    const environment = { REDIS_URL: server.url, MIN_EXAMPLES_PER_DOMAIN: "2", EVERLORA_API_KEY: apiKey };
    const { code, stdout, stderr } = await run(data, ["collect", "--collect-only", "--json"], environment);
    assert.equal(code, 0, stderr);
    const report = collectReportSchema.parse(JSON.parse(stdout));
    assert.deepEqual([report.found.rows, report.triggered], [13, []], "--collect-only asks for no training");
    assert.deepEqual([report.caches["redisvl"], report.caches["litellm-exact"]], [{ usable: 1, no_prompt: 0, unparsable: 0 }, { usable: 0, no_prompt: 1, unparsable: 0 }]);
    assert.match(report.report, /training_data_\d{8}T\d{6}Z\.json$/);
    await access(report.report);
    const legal = report.domains.find(({ domain }) => domain === "legal");
    assert.equal(legal?.rows, 13);
    const manifest = await readManifest(join(data, "training_data", "legal", legal.snapshot ?? ""));
    assert.deepEqual([manifest.rows, manifest.rowIds.length, manifest.sources], [13, 13, { import: 13 }]);
    assert.equal(await redis.xlen(streams.conversations.key), 0);
    assert.ok((await redis.ttl(`llmcache:${"a".repeat(64)}`)) > 4_000, "its time to live is as it was");

    const again = await run(data, ["collect", "--collect-only", "--days", "2"], environment);
    assert.match(again.stdout, /^0 new rows, 0 dropped\n/);
    assert.match(again.stdout, /\nlegal +\d{8}T\d{6}Z-[0-9a-f]{6} +7 /, "of the last two days there are seven");
    assert.equal((await run(data, ["collect", "--days", "x"], environment)).code, 1);

    const collector = await startTestCollector(data, server.url);
    try {
      await writeFile(join(data, "more.jsonl"), `${chatLine(20)}\n${chatLine(21)}\n`);
      assert.match((await run(data, ["import", join(data, "more.jsonl")], environment)).stdout, /2 became rows/);
      const second = collectReportSchema.parse(JSON.parse((await run(data, ["collect", "--json"], environment)).stdout));
      assert.equal(second.domains.find(({ domain }) => domain === "legal")?.rows, 15);
      assert.match((await run(data, ["collect", "--collect-only"], environment)).stderr, /asks for training by itself/);
    } finally {
      await collector.close();
    }
    const gone = await run(data, ["collect"], { ...environment, REDIS_URL: "redis://127.0.0.1:1" });
    assert.equal(gone.code, 1);
    assert.match(gone.stderr, /Cannot reach Redis at .*127\.0\.0\.1:1/);
  } finally {
    redis.disconnect();
    await server.stop();
  }
});

test("forget removes by caller, row and text from every file, lists the adapters that learnt it, and it does not come again", async (t) => {
  const data = await newData(t);
  const server = await startRedis();
  const on = await Bench.open(server.url, {}, { DATA_DIR: data });
  try {
    const secret = "walrus-und-zephyr";
    // As the gateway makes it of an application's `user`.
    const caller = callerOf(sha256(apiKey), "alice@example.com", null);
    const told = aboutLaw(100, { caller, answer: { role: "assistant", content: `The landlord must agree to a ${secret} in writing; a tenant should ask a lawyer about the lease clause.` } });
    for (let number = 0; number < 40; number++) await publish(on.redis, "conversations", aboutLaw(number, { caller: number < 3 ? caller : "" }));
    await publish(on.redis, "conversations", told);
    const environment = { REDIS_URL: server.url, EVERLORA_API_KEY: apiKey };
    assert.equal((await run(data, ["collect", "--collect-only"], environment)).code, 0);
    // One adapter that was trained on them, and one that went on from it.
    await on.trainer();
    const train = async (overrides: TrainingOverrides) => {
      // The queue holds one job a domain: the next one is taken when the one before is put away.
      const runId = await until("a place in the queue", async () => {
        const asked = await enqueueFineTune(on.queue, { domain: "legal", reason: "manual", force: true, overrides });
        return asked.added && asked.runId;
      });
      return on.runIn(runId, "published", "rejected", "failed");
    };
    const first = await train({});
    const second = await train({ start: "live", epochs: 2 });
    assert.deepEqual([first.state, second.state, second.liveBefore], ["published", "published", first.generation]);
    await on.closeServices();
    const holding = async () => (await everythingIn(data)).includes(secret);
    assert.ok(await holding());

    const dry = await run(data, ["forget", "--match", secret.toUpperCase(), "--dry-run"], environment);
    assert.match(dry.stdout, /^1 rows would be removed \(1 legal\)\n/);
    assert.ok(await holding(), "a dry run removes nothing");
    const { code, stdout } = await run(data, ["forget", "--match", secret], environment);
    assert.equal(code, 0);
    assert.match(stdout, /^1 rows were removed \(1 legal\)\n/);
    assert.match(stdout, /also from .*legal\/\d{8}T\d{6}Z-[0-9a-f]{6}\/dataset\.jsonl\n/);
    for (const { generation, id } of [first, second]) assert.match(stdout, new RegExp(`adapter legal@${generation ?? ""}.* was trained on 1 of them \\(${id}\\)`));
    assert.match(stdout, new RegExp(`legal@${second.generation ?? ""} \\(live\\)`));
    assert.ok(!(await holding()), "no file has it any more");

    const byCaller = forgetReportSchema.parse(JSON.parse((await run(data, ["forget", "--caller", "alice@example.com", "--json"], environment)).stdout));
    assert.deepEqual([byCaller.rows, byCaller.adapters.length], [3, 2]);
    const [row] = await allRows(data);
    assert.ok(row !== undefined);
    assert.match((await run(data, ["forget", "--row", row.id], environment)).stdout, /^1 rows were removed/);
    assert.ok(!(await everythingIn(join(data, "training_data"))).includes(JSON.stringify(row.messages)));
    assert.match((await run(data, ["forget"], environment)).stderr, /Nothing says which rows to forget/);

    await publish(on.redis, "conversations", told);
    await publish(on.redis, "conversations", aboutLaw(1, { caller }));
    assert.match((await run(data, ["collect", "--collect-only"], environment)).stdout, /^0 new rows, 0 dropped\n/);
    const left = (await allRows(data)).length;
    assert.equal(left, 36);
    for (const version of (await readdir(join(data, "training_data", "legal"))).filter((name) => /^\d{8}T/.test(name))) {
      const manifest = await readManifest(join(data, "training_data", "legal", version));
      assert.deepEqual([manifest.rows, manifest.rowIds.length], [36, 36], version);
    }
    assert.ok(!(await holding()));
  } finally {
    await on.close();
    await server.stop();
  }
});

test("anonymise replaces in text, JSON and JSON lines, says what and how often, and never overwrites", async (t) => {
  const data = await newData(t);
  const text = join(data, "ticket.txt");
  await writeFile(text, "Meu CPF é 529.982.247-25 e o e-mail ana.souza@example.com.\nLigue (11) 91234-5678.\n");
  const plain = await run(data, ["anonymise", text]);
  assert.deepEqual([plain.code, plain.stdout], [0, "Meu CPF é [CPF] e o e-mail [EMAIL].\nLigue [TELEFONE].\n"]);
  assert.match(plain.stderr, /CPF +1/);
  const lines = join(data, "chats.jsonl");
  await writeFile(lines, '{"messages":[{"role":"user","content":"De ana.souza@example.com"}],"n":12345678901234567890}\n');
  const out = join(data, "clean.jsonl");
  assert.equal((await run(data, ["anonymise", lines, "--out", out])).code, 0);
  assert.equal(await readFile(out, "utf8"), '{"messages":[{"role":"user","content":"De [EMAIL]"}],"n":12345678901234567890}\n');
  const taken = await run(data, ["anonymise", text, "--out", out]);
  assert.equal(taken.code, 1);
  assert.match(taken.stderr, /^everlora: EEXIST: .*clean\.jsonl'\n {2}Name another place.*\n$/, "without a stack");
  assert.match(await readFile(out, "utf8"), /messages/, "a file that is there stays");
  const surrogates = z.object({ text: z.string(), counts: z.record(z.string(), z.number()) }).parse(JSON.parse((await run(data, ["anonymise", text, "--surrogates", "--json"])).stdout));
  assert.equal(surrogates.counts["CPF"], 1);
  assert.match(surrogates.text, /^Meu CPF é \d{3}\.\d{3}\.\d{3}-\d{2} e o e-mail \S+@\S+\.\nLigue .*\d.*\n$/);
  assert.doesNotMatch(surrogates.text, /529\.982|ana\.souza|91234-5678/);
  assert.equal((await run(data, ["anonymise", join(data, "none.txt")])).code, 1);
});

test("domains lists, sorts a sentence with its reasons, and finds keywords in the rows", async (t) => {
  const data = await newData(t);
  const list = z.array(z.object({ name: z.string(), keywords: z.number() })).parse(JSON.parse((await run(data, ["domains", "--json"])).stdout));
  assert.ok(list.some(({ name, keywords }) => name === "legal" && keywords > 10));
  const tested = await run(data, ["domains", "test", "my landlord wants to end the lease contract, may I ask a lawyer"]);
  assert.match(tested.stdout, /^legal: .*; language en\n/);
  assert.match(tested.stdout, /\nlegal +landlord +1 /);
  assert.match((await run(data, ["domains", "suggest", "legal"])).stdout, /No word sets legal apart yet/);
  const chats = (word: string, from: number, domain: string) => Array.from({ length: 60 }, (_, number) => `{"domain":"${domain}",${chatLine(from + number).replaceAll("landlord", word).slice(1)}`).join("\n");
  await mkdir(data, { recursive: true });
  await writeFile(join(data, "rows.jsonl"), `${chats("usufruct", 0, "legal")}\n${chats("stethoscope", 200, "medical")}\n`);
  assert.equal((await run(data, ["import", join(data, "rows.jsonl")])).code, 0);
  const suggested = z.array(z.object({ word: z.string(), rows: z.number(), elsewhere: z.number() })).parse(JSON.parse((await run(data, ["domains", "suggest", "legal", "--count", "3", "--json"])).stdout));
  assert.deepEqual(suggested.find(({ word }) => word === "usufruct"), { ...suggested.find(({ word }) => word === "usufruct"), word: "usufruct", rows: 60, elsewhere: 0 });
  assert.ok(suggested.length <= 3);
  assert.match((await run(data, ["domains", "suggest", "nowhere"])).stderr, /nowhere/);
});
