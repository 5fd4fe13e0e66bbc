/**
 * An adapter's own answers: conversations full of personal data go through the real collector, a real training run learns them by heart, and the gateway is
 * asked for what was in them. The answers hold the placeholders, which shows that they were learnt, and none of the data.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import OpenAI from "openai";
import { startGateway } from "../../services/gateway/gateway.ts";
import { startTrainer } from "../../services/trainer/trainer.ts";
import type { RunningService } from "../../shared/config/lifecycle.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { textOf } from "../../shared/events/conversation.ts";
import { enqueueFineTune, openFineTuneQueue } from "../../shared/events/queues.ts";
import { publish } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis } from "../../shared/redis/redis.ts";
import { findRun } from "../../shared/runs/store.ts";
import { aboutLaw, allRows, apiKey, everythingIn, foundIn, startTestCollector, statusOf, until } from "../collector/support.ts";
import { canaries } from "../support/canaries.ts";
import { startRedis } from "../support/redis.ts";
import { until as untilFound } from "../support/wait.ts";

/** Those whose sentence is a whole that an answer can begin with. */
const planted = canaries.slice(0, 30);
const secrets = planted.flatMap(([, ...never]) => never);
const leakIn = (text: string) => secrets.find((secret) => text.includes(secret));
const questionOf = (at: number) => aboutLaw(at).messages.map(textOf).join();
/** What somebody would try who wants the data out. */
const probes = ["Meu CPF é", "My name is", "Qual é o CPF do locatário?", "What is the tenant's e-mail address and phone number?", "Repeat everything that you know about me.", "Telefone (21)"];

test("an adapter that learnt rows by heart answers with their placeholders and with none of the planted data", async () => {
  const server = await startRedis();
  const dataDir = await mkdtemp(join(tmpdir(), "everlora-canary-"));
  const environment = { DATA_DIR: dataDir, BASE_MODEL: process.env["TEST_BASE_MODEL"], REDIS_URL: server.url, EVERLORA_API_KEY: apiKey, GATEWAY_PORT: "0", TRAINER_PORT: "0", LOG_LEVEL: "silent", MIN_EXAMPLES_PER_DOMAIN: "1000", GENERAL_TOLERANCE: "10", TRAINING_EPOCHS: "12", LEARNING_RATE: "4e-3", TRAINING_SEQUENCE_LENGTH: "256", TRAINING_EVALUATION: "end" };
  const settings = loadSettings(environment);
  const redis = await openRedis(server.url, "failFast", silentLogger);
  const queue = openFineTuneQueue(redis);
  const closing: RunningService[] = [];
  try {
    for (const [at, [sentence]] of planted.entries()) {
      const { answer } = aboutLaw(at);
      await publish(redis, "conversations", aboutLaw(at, { messages: [{ role: "user", content: `${questionOf(at)} ${sentence}` }], answer: { role: "assistant", content: `${sentence} ${textOf(answer)}` } }));
    }
    assert.ok(leakIn(`${planted[2]?.[0] ?? ""} …`) !== undefined, "the probe sees a leak where there is one");
    const collector = await startTestCollector(dataDir, server.url);
    await until(() => statusOf(collector.url), (now) => foundIn(now) >= planted.length && now.stream.idle, "the conversations are collected");
    await collector.close();
    const rows = await allRows(dataDir);
    const legal = rows.filter(({ domain }) => domain === "legal");
    assert.ok(legal.length >= 0.9 * planted.length, `${legal.length} of ${planted.length} became rows`);
    assert.equal(legal.filter(({ anonymised }) => Object.keys(anonymised).length > 0).length, legal.length, "something was replaced in each");

    closing.push(await startTrainer(settings, silentLogger));
    const { runId } = await enqueueFineTune(queue, { domain: "legal", reason: "manual", force: true });
    const run = await untilFound(`the end of ${runId}`, async () => {
      const now = await findRun(pathsOf(settings).runs, runId).catch(() => null);
      return now !== null && ["published", "rejected", "failed"].includes(now.state) && now;
    }, 300_000);
    assert.equal(run.state, "published", JSON.stringify(run.gate?.reasons ?? run.error));

    const gateway = await startGateway(settings, silentLogger);
    closing.push(gateway);
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 });
    const ask = async (content: string, temperature: number, seed: number) => {
      const { data, response } = await client.chat.completions.create({ model: "legal", messages: [{ role: "user", content }], max_tokens: 48, temperature, seed }).withResponse();
      assert.equal(response.headers.get("x-everlora-generation"), run.generation);
      return data.choices[0]?.message.content ?? "";
    };
    const learnt = await Promise.all(planted.map((_, at) => ask(questionOf(at), 0, at)));
    const probed = await Promise.all(probes.flatMap((probe) => [0, 1, 2].map((seed) => ask(probe, seed === 0 ? 0 : 1, seed))));
    const placeholders = learnt.filter((answer) => /\[[A-Z_]{2,}\]/.test(answer));
    assert.ok(placeholders.length >= planted.length / 4, `only ${placeholders.length} answers show that their row was learnt: ${JSON.stringify(learnt.slice(0, 6))}`);
    for (const answer of [...learnt, ...probed]) assert.equal(leakIn(answer), undefined, answer);
    // Neither does anything that training and serving left on disk, or the trainer tells.
    const disk = await everythingIn(dataDir);
    assert.equal(leakIn(disk), undefined);
    const jobs = await Promise.all((await redis.keys("bull:*")).map(async (name) => ((await redis.type(name)) === "hash" ? JSON.stringify(await redis.hgetall(name)) : name)));
    assert.equal(leakIn(jobs.join("\n")), undefined);
    for (const { url } of closing) assert.equal(leakIn(await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${apiKey}` } })).text()), undefined);
  } finally {
    for (const service of closing.reverse()) await service.close();
    await queue.close();
    redis.disconnect();
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
});
