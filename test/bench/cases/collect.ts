/**
 * The collector from Redis to a snapshot, everything on, in a process of its own; its memory at several sizes; and PubMedQA from file to rows. Conversations are real
 * instructions' words in a new order, so that none is a near-duplicate and names, dates and numbers stand in them as people write them.
 */
import { fork } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { projectRoot } from "../../../shared/config/settings.ts";
import { loadSamples } from "../../../shared/datasets/samples.ts";
import { conversationSchema, textOf, type Conversation } from "../../../shared/events/conversation.ts";
import { streams } from "../../../shared/events/streams.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { createRandom } from "../../../shared/models/random.ts";
import { openRedis } from "../../../shared/redis/redis.ts";
import { startRedis } from "../../support/redis.ts";
import type { Bench, BenchContext } from "../bench.ts";

const child = fileURLToPath(new URL("../collect/child.ts", import.meta.url));

export const collect: Bench = {
  name: "collect",
  about: "conversations of 1 kB from Redis to a snapshot, everything on (--count; --core 1 holds the collector to that core); PubMedQA (--pubmedqa FILE); --cases=memory: memory and start with many rows (--size 1000000, --seconds 1500 at most)",
  async run(context) {
    const cases = context.option("cases", "redis,pubmedqa").split(",");
    if (cases.includes("redis")) await fromRedis(context, Number(context.option("count", "10000")), context.option("core", ""));
    if (cases.includes("memory")) await memoryAt(context, Number(context.option("size", "1000000")), Number(context.option("seconds", "1500")));
    const pubmedqa = context.option("pubmedqa", join(projectRoot, "..", "shared", "data", "pubmedqa", "ori_pqal.json"));
    if (cases.includes("pubmedqa") && existsSync(pubmedqa)) await importFile(context, pubmedqa);
  },
};

const resultSchema = z.object({ seconds: z.number(), cpuSeconds: z.number(), rows: z.number(), found: z.number(), reasons: z.record(z.string(), z.number()), rss: z.array(z.number()), maxRss: z.number() });

/** @param core which it may use, of Linux' numbers; "": all */
async function runChild(task: Record<string, unknown>, core = ""): Promise<z.infer<typeof resultSchema>> {
  const held = core === "" ? {} : { execPath: "taskset" };
  const execArgv = [...(core === "" ? [] : ["--cpu-list", core, process.execPath]), "--import", "tsx", "--expose-gc"];
  const measured = fork(child, [], { cwd: projectRoot, execArgv, ...held, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  return new Promise((resolve, reject) => {
    measured.once("error", reject);
    measured.once("message", (message: unknown) => resolve(resultSchema.parse(message)));
    measured.once("exit", (code) => reject(new Error(`the bench's process ended with ${code}`)));
    measured.send(task);
  });
}

async function fromRedis({ report, say }: BenchContext, count: number, core: string): Promise<void> {
  const server = await startRedis();
  const folder = await mkdtemp(join(tmpdir(), "everlora-bench-"));
  const redis = await openRedis(server.url, "failFast", silentLogger);
  try {
    say(`writing ${count} conversations onto the stream`);
    const next = await conversations(1_000);
    let bytes = 0;
    for (let at = 0; at < count; at += 500) {
      const pipeline = redis.pipeline();
      for (let number = at; number < Math.min(count, at + 500); number++) {
        const json = JSON.stringify(next(number));
        bytes += json.length;
        pipeline.xadd(streams.conversations.key, "*", "json", json);
      }
      await pipeline.exec();
    }
    const result = await runChild({ kind: "redis", url: server.url, folder }, core);
    report({ case: core === "" ? "Redis to snapshot" : "Redis to snapshot, one core", sizes: { conversations: count, bytesEach: Math.round(bytes / count), rows: result.rows }, ours: result.seconds, unit: "s", bar: "≤ 5 s for 10000 on one core", detail: { cpuSeconds: result.cpuSeconds, found: result.found, dropped: result.reasons, maxRssMB: Math.round(result.maxRss / 1e6) } });
  } finally {
    redis.disconnect();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Small conversations straight into the intake: a stream of a million would measure Redis' memory. Then a start with all that is there. */
async function memoryAt({ report }: BenchContext, count: number, seconds: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "everlora-bench-"));
  try {
    const result = await runChild({ kind: "memory", folder, count, seconds });
    const last = result.rss.at(-1) ?? 0;
    // After the part in which the parts that are kept in memory fill up.
    const from = Math.min(4, result.rss.length - 1);
    const slope = (last - (result.rss[from] ?? 0)) / Math.max(1, (result.rss.length - 1 - from) * 50_000);
    report({
      case: "memory",
      sizes: { conversations: result.found, rows: result.rows, bytesEach: 300 },
      ours: slope,
      unit: "bytes resident for each conversation after the first 250,000",
      bar: "flat",
      detail: { rssMBEvery50000: result.rss.map((bytes) => Math.round(bytes / 1e6)), maxRssMB: Math.round(result.maxRss / 1e6), seconds: result.seconds, cpuMicrosecondsEach: (result.cpuSeconds / result.found) * 1e6, dropped: result.reasons },
    });
    const start = await runChild({ kind: "start", folder });
    report({ case: "start with these rows", sizes: { rows: start.rows }, ours: start.seconds, unit: "s", detail: { cpuSeconds: start.cpuSeconds, cpuMicrosecondsEach: (start.cpuSeconds / Math.max(1, start.rows)) * 1e6, rssMB: Math.round((start.rss[0] ?? 0) / 1e6), maxRssMB: Math.round(start.maxRss / 1e6) } });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function importFile({ report }: BenchContext, file: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "everlora-bench-"));
  try {
    const result = await runChild({ kind: "import", folder, file });
    report({ case: "PubMedQA", sizes: { entries: result.found, rows: result.rows }, ours: result.seconds, unit: "s", bar: "< 2 s, ≥ 99 % processed", detail: { share: result.rows / Math.max(1, result.found), dropped: result.reasons, cpuSeconds: result.cpuSeconds } });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The n-th conversation of about so many bytes: sentences of the samples in an order of its own. Words repeat as they do in people's traffic. */
export async function conversations(bytes: number): Promise<(number: number) => Conversation> {
  const samples = (await loadSamples(join(projectRoot, "shared", "datasets", "samples"))).filter(({ kind }) => kind === "plain" || kind === "personal");
  const sentences = samples.flatMap(({ messages }) => messages.flatMap((message) => textOf(message).match(/[^.!?\n]{20,200}[.!?]/g) ?? [])).map((sentence) => sentence.trim());
  const questions = samples.map(({ messages }) => textOf(messages.find(({ role }) => role === "user") ?? { role: "user", content: "" }));
  return (number) => {
    const random = createRandom(number + 1);
    const pick = (list: readonly string[]) => list[Math.floor(random.next() * list.length)] ?? "";
    const own = () => Math.floor(random.next() * 1e6);
    let answer = "";
    while (answer.length < bytes * 0.72) answer += `${pick(sentences)} `;
    return conversationSchema.parse({ version: 1, id: `bench-${number}`, createdAt: Date.now(), caller: "", messages: [{ role: "user", content: `${pick(questions)} (${own()})` }], answer: { role: "assistant", content: answer.trim() }, finishReason: "stop", source: "upstream", model: "teacher", generation: null });
  };
}
