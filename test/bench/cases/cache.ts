/** The semantic cache: exact hits against bare Express, semantic hits in a full cache, the index's recall, a hit against the engine's own answer, and how often it is right. */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Answerer } from "../../../services/gateway/cache/key.ts";
import { projectRoot } from "../../../shared/config/settings.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { openModelFolder } from "../../../shared/models/folder.ts";
import { openRedis } from "../../../shared/redis/redis.ts";
import { writeRandomModel } from "../../support/random_model.ts";
import { startRedis, type TestRedis } from "../../support/redis.ts";
import type { Bench, BenchContext } from "../bench.ts";
import type { ClosedLoopOptions, ClosedLoopResult } from "../cache/closed_loop.ts";
import { bodyOf, fill } from "../cache/filled.ts";
import { reportIntents, reportPairs } from "../cache/quality.ts";
import { madeUp } from "../cache/questions.ts";
import { reportRecall } from "../cache/recall.ts";
import { startGatewayProcess, startMock } from "../gateway/processes.ts";

const apiKey = "bench-key-0123456789";
const model = "mock";
const answerer: Answerer = { kind: "upstream", model };
const headers = { authorization: `Bearer ${apiKey}` };
/** A gateway whose engine computes nothing: where only the cache and an upstream answer, the engine is not measured. */
const scripted = "../../gateway/support/gateway_main.ts";
/** 64 tokens or so. */
const answer = "Please bring the form and the parcel to any of our offices; the return is free of charge within a fortnight, and you will have the money on your account two days after the parcel has arrived, unless the bank is closed for a holiday, in which case it takes one day more.";

export const cache: Bench = {
  name: "cache",
  about: "exact hits against bare Express with one GET, semantic hits at 10,000 and 100,000 entries, recall, false hits, hit rates, and a hit against the engine's answer",
  async run(context) {
    const { option } = context;
    for (const name of option("cases", "pairs,intents,recall,exact,semantic,engine").split(",")) {
      if (name === "pairs") reportPairs(context);
      if (name === "intents") reportIntents(context, option("data", process.env["EVERLORA_DATA"] ?? join(projectRoot, "..", "shared", "data")), Number(option("questions", "6000")));
      if (name === "recall") reportRecall(context, Number(option("entries", "100000")), 300);
      if (name === "exact") await withRedis((redis, folder) => exact(context, redis, folder));
      if (name === "semantic") for (const entries of [10_000, 100_000]) await withRedis((redis, folder) => semantic(context, redis, folder, entries));
      if (name === "engine") await withRedis((redis, folder) => engine(context, redis, folder));
    }
  },
};

async function exact({ report, option }: BenchContext, redis: TestRedis, folder: string): Promise<void> {
  const questions = madeUp(64, 3).map(({ text }) => text);
  await filled(redis, questions, true);
  const direct = await openRedis(redis.url, "failFast", silentLogger);
  await direct.set("bare", JSON.stringify({ id: "chatcmpl-0", object: "chat.completion", created: 1, model, choices: [{ index: 0, message: { role: "assistant", content: answer, refusal: null }, logprobs: null, finish_reason: "stop" }], usage: { prompt_tokens: 20, completion_tokens: 64, total_tokens: 84 } }));
  direct.disconnect();
  const mock = await startMock();
  const gateway = await startGatewayProcess(environment(redis, folder, mock.url), option("node", "") === "" ? [] : option("node", "").split(" "), scripted);
  const bare = await startMock("../cache/bare.ts", [redis.url, "bare"]);
  const ours: ClosedLoopResult[] = [];
  const theirs: ClosedLoopResult[] = [];
  const load = { headers, bodies: questions.map((question) => bodyOf(model, question)), connections: 16, seconds: Number(option("seconds", "5")), warmUp: 2 };
  for (let round = 0; round < 3; round++) {
    theirs.push(await closedLoop({ ...load, url: bare.url }));
    ours.push(await closedLoop({ ...load, url: gateway.url }));
  }
  const best = (results: readonly ClosedLoopResult[]) => Math.max(...results.map(({ perSecond }) => perSecond));
  const ratio = best(ours) / best(theirs);
  report({ case: "exact hit", sizes: { connections: load.connections, seconds: 3 * load.seconds }, ours: best(ours), unit: "requests/s", peer: { name: "bare Express and one Redis GET", version: "express 5", figure: best(theirs) }, ratio, bar: "≥ 0.6", note: "best of three rounds each, in turns", detail: { ours, theirs } });
  for (const each of [gateway, bare, mock]) await each.stop();
}

async function semantic({ report }: BenchContext, redis: TestRedis, folder: string, entries: number): Promise<void> {
  const questions = madeUp(entries, 7);
  await filled(redis, questions.map(({ text }) => text), false);
  const mock = await startMock();
  // All of them in one partition: the worst case. Under the default gate each question would have its own.
  const gateway = await startGatewayProcess({ ...environment(redis, folder, mock.url), CACHE_GATE: "facts", CACHE_UNCERTAINTY: "0", CACHE_INDEX: "process", ENABLE_FINE_TUNING: "false" }, [], scripted);
  const bodies = questions.filter((_each, at) => at % Math.floor(entries / 500) === 0).map(({ other }) => bodyOf(model, other));
  const result = await closedLoop({ url: gateway.url, headers: { ...headers }, bodies, connections: 1, seconds: 5, warmUp: 2 });
  report({ case: `semantic hit, ${entries} entries`, sizes: { entries, questions: bodies.length, connections: 1 }, ours: result.p50, unit: "ms, median, end to end over HTTP", bar: entries > 10_000 ? "≤ 8" : "≤ 3", note: "built-in embedding, all entries in one partition", detail: result });
  for (const each of [gateway, mock]) await each.stop();
}

async function engine({ report, say }: BenchContext, redis: TestRedis, folder: string): Promise<void> {
  const path = await writeRandomModel(join(folder, "smollm2-shape"));
  say("a base of SmolLM2-135M's shape is written");
  const gateway = await startGatewayProcess({ ...environment(redis, folder, ""), BASE_MODEL: path });
  try {
    const ask = async (more: object) => {
      const started = performance.now();
      const response = await fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify({ model: "smollm2-shape", messages: [{ role: "user", content: "How do I return a parcel that came late?" }], temperature: 0, ...more }) });
      const body = (await response.json()) as { usage?: { completion_tokens: number } };
      if (response.status !== 200) throw new Error(JSON.stringify(body));
      return { ms: performance.now() - started, tokens: body.usage?.completion_tokens ?? 0, cache: response.headers.get("x-everlora-cache") };
    };
    await ask({ max_tokens: 8, seed: 1 });
    const own = [await ask({ max_tokens: 64, seed: 2 }), await ask({ max_tokens: 64, seed: 3 })];
    const slow = Math.min(...own.map(({ ms }) => ms));
    // Random weights seldom end by themselves, and what was cut short is not cached: the entry is one that the upstream's case wrote.
    const question = "What does a hit cost?";
    const { sha256: base } = await openModelFolder(path);
    await filled(redis, [question], true, { kind: "engine", base, generation: null }, "smollm2-shape");
    const hit = await closedLoop({ url: gateway.url, headers, bodies: [bodyOf("smollm2-shape", question)], connections: 1, seconds: 3, warmUp: 1 });
    report({ case: "hit against the engine", sizes: { tokens: own[0]?.tokens ?? 0, parameters: 134_515_008 }, ours: hit.p50, unit: "ms, median", peer: { name: "the engine's own answer of 64 tokens", version: "SmolLM2-135M's shape", figure: slow }, ratio: slow / hit.p50, bar: "≥ 875, aim 2,000", note: "ratio: the engine's time over the hit's", detail: { own, hit } });
  } finally {
    await gateway.stop();
  }
}

async function filled(redis: TestRedis, questions: readonly string[], strict: boolean, by: Answerer = answerer, name = model): Promise<void> {
  const direct = await openRedis(redis.url, "failFast", silentLogger);
  await fill(direct, questions, { apiKey, answerer: by, model: name, strict, answer, tokens: 64 });
  direct.disconnect();
}

function environment(redis: TestRedis, folder: string, upstream: string): Record<string, string> {
  return { DATA_DIR: folder, REDIS_URL: redis.url, EVERLORA_API_KEY: apiKey, GATEWAY_PORT: "0", BASE_MODEL: "tiny-fake", CACHE_INDEX: "process", ...(upstream === "" ? {} : { UPSTREAM_URL: upstream, UPSTREAM_MODEL: model }) };
}

async function withRedis(work: (redis: TestRedis, folder: string) => Promise<void>): Promise<void> {
  const redis = await startRedis();
  const folder = await mkdtemp(join(tmpdir(), "everlora-bench-cache-"));
  try {
    await work(redis, folder);
  } finally {
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function closedLoop(options: ClosedLoopOptions): Promise<ClosedLoopResult> {
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), fileURLToPath(new URL("../cache/closed_loop.ts", import.meta.url)), JSON.stringify(options)], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (piece: string) => (text += piece));
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve(JSON.parse(text) as ClosedLoopResult) : reject(new Error(`the load generator ended with ${code}`))));
  });
}
