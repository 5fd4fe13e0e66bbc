/** Personal data planted in every place and of every kind must come out nowhere: not in training_data, logs, metrics, status, or job data. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { it } from "node:test";
import { createAnonymiser } from "../../shared/anonymise/anonymiser.ts";
import { normaliseText } from "../../shared/anonymise/normalise.ts";
import { recognisers } from "../../shared/anonymise/recognisers/recognisers.ts";
import { projectRoot } from "../../shared/config/settings.ts";
import { cacheEntryPrefix } from "../../shared/events/cache_entry.ts";
import { sha256, type Message } from "../../shared/events/conversation.ts";
import { publish } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { faultyKey } from "../../services/collector/readers/stream.ts";
import { canaries } from "../support/canaries.ts";
import { startRedis } from "../support/redis.ts";
import { apiKey, everythingIn, foundIn, get, leaveInCache, newFolder, say, statusOf, until } from "./support.ts";

const anonymiser = createAnonymiser();

it("plants something of every kind that the anonymiser knows", () => {
  const found = new Set(canaries.flatMap(([sentence]) => anonymiser.find(normaliseText(sentence)).map(({ kind }) => kind)));
  assert.deepEqual([...new Set([...recognisers.map(({ kind }) => kind), "NOME"])].filter((kind) => !found.has(kind)), []);
});

const post = async (url: string, path: string, body: unknown) => (await fetch(`${url}${path}`, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: JSON.stringify(body) })).text();

/** Names and values of all keys but the cache's, which this test filled itself: the queue with its jobs, streams, what was moved aside. */
async function everythingWritten(redis: Redis): Promise<string> {
  const values: string[] = [];
  for (const key of await redis.keys("*")) {
    if (key.startsWith(cacheEntryPrefix)) continue;
    const type = await redis.type(key);
    const value: unknown = type === "hash" ? await redis.hgetall(key) : type === "stream" ? await redis.xrange(key, "-", "+") : type === "list" ? await redis.lrange(key, 0, -1) : type === "zset" ? await redis.zrange(key, "0", "-1") : type === "set" ? await redis.smembers(key) : await redis.get(key);
    values.push(key, JSON.stringify(value));
  }
  return values.join("\n");
}

/** Words of no language, so that no two conversations are near-duplicates. */
const ownWord = (number: number) => Array.from(sha256(`word ${number}`).slice(0, 9), (digit) => "bcdfghjklmnpqrst"[Number.parseInt(digit, 16)] ?? "").join("");

it("lets no planted personal datum out", async () => {
  const server = await startRedis();
  const folder = await newFolder();
  const redis = await openRedis(server.url, "failFast", silentLogger);
  const output: string[] = [];
  const collector = fork(join(projectRoot, "services", "collector", "main.ts"), {
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: { PATH: process.env["PATH"], DATA_DIR: folder.path, REDIS_URL: server.url, COLLECTOR_PORT: "0", EVERLORA_API_KEY: apiKey, COLLECT_INTERVAL: "0.2", MIN_EXAMPLES_PER_DOMAIN: "20", LOG_LEVEL: "trace" },
  });
  collector.stdout?.setEncoding("utf8").on("data", (text: string) => output.push(text));
  collector.stderr?.setEncoding("utf8").on("data", (text: string) => output.push(text));
  try {
    const [{ url }] = (await once(collector, "message")) as [{ url: string }];
    const question = "Can my landlord end the lease contract without a court, dear lawyer?";
    let planted = 0;
    for (const [at, [sentence, ...never]] of canaries.entries()) {
      const own = `topic ${ownWord(at)} ${ownWord(at + 100)} of clause ${ownWord(at + 200)} ${ownWord(at + 300)}`;
      const call = { id: "call_1", type: "function", function: { name: "find", arguments: JSON.stringify({ note: sentence }) } };
      const places: Partial<Record<string, Message[]>> = {
        user: [{ role: "user", content: `${question} ${own}. ${sentence}` }],
        system: [{ role: "system", content: sentence }, { role: "user", content: `${own}: ${question}` }],
        parts: [{ role: "user", content: [{ type: "text", text: `${own} again. ${question}\n${sentence}` }] }],
        tools: [{ role: "user", content: `${question} With tools for ${own}` }, { role: "assistant", content: null, tool_calls: [call] }, { role: "tool", tool_call_id: "call_1", content: JSON.stringify({ found: [sentence] }) }],
      };
      const conversations = Object.entries(places).map(([place, messages = []], which) => say(`canary-${at}-${place}`, "", "", { messages, answer: { role: "assistant", content: `About ${own} (${place} ${[1, 2, 3, 4, 5, 6].map((word) => ownWord(at + 1_000 * (which + 1) + 100_000 * word)).join(" ")}): ${sentence} The ${place} lease clause of the tenant decides, ask a lawyer.` } }));
      // Also where nobody looks for it: in the id, the model's name, the caller, the message's name field, and a junk conversation.
      const odd = say(`odd ${sentence}`.slice(0, 128), "", "", { messages: [{ role: "user", name: never[0]?.slice(0, 60), content: `${question} Odd ${own}` }], answer: { role: "assistant", content: `The odd lease clause ${own} decides; ask a lawyer about the contract.` }, model: sentence, caller: (never[0] ?? "").slice(0, 64) });
      const junk = say(`junk-${at}`, `${question} ${sentence}`, "");
      for (const conversation of [...conversations.slice(0, 2), junk]) await publish(redis, "conversations", conversation);
      await leaveInCache(redis, [...conversations.slice(2), odd]);
      await redis.xadd("everlora:conversations", "*", "json", JSON.stringify({ ...junk, version: 9, [sentence]: sentence }));
      await redis.hset(`everlora:cache:entry:bad ${sentence}`, "conversation", `not json ${sentence}`);
      planted += conversations.length + 2;
    }
    const status = await until(() => statusOf(url), (now) => foundIn(now) >= planted && now.domains.some(({ lastTrigger }) => lastTrigger !== null), "all canaries are collected");
    // The canaries are tried on rows: each conversation that has an answer became one, and nothing else was dropped.
    const kept = status.domains.reduce((sum, domain) => sum + domain.rows.total, 0);
    assert.equal(kept, canaries.length * 5, "each in five places");
    assert.deepEqual(status.domains.flatMap(({ dropped }) => Object.entries(dropped)), [["empty", canaries.length]], "and the junk");

    // What a person may ask for: snapshots with manifests, a report, a look for a text.
    const asked = await Promise.all([post(url, "/collect", {}), post(url, "/forget", { match: canaries[2]?.[0], dryRun: true }), post(url, "/import", { conversations: [{ text: canaries[3]?.[0] }] })]);
    const seen = { disk: await everythingIn(folder.path), log: output.join(""), metrics: await (await get(url, "/metrics")).text(), status: JSON.stringify(status), answers: asked.join("\n"), redis: await everythingWritten(redis) };
    assert.ok(seen.redis.includes("threshold") && seen.log.includes("asked for a training job"));
    assert.ok(seen.redis.includes(faultyKey) && seen.disk.includes('"rowIds"') && /training_data_\d+T/.test(seen.answers) && seen.metrics.includes("everlora_collector"), "all that can leak is looked at");
    for (const [where, text] of Object.entries(seen)) {
      for (const never of canaries.flatMap(([, ...values]) => values)) {
        const at = text.indexOf(never);
        assert.equal(at, -1, `${never} is in ${where}: …${text.slice(Math.max(0, at - 120), at + 60)}…`);
      }
    }
  } finally {
    const gone = once(collector, "exit");
    collector.kill("SIGKILL");
    await gone;
    redis.disconnect();
    await server.stop();
    await folder.remove();
  }
});
