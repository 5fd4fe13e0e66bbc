/** Adapters swapped under load: how long from publishing to the first token by the new generation, and whether any answer failed or mixed two of them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathsOf } from "../../../shared/config/paths.ts";
import { publish } from "../../../shared/events/streams.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { openModelFolder } from "../../../shared/models/folder.ts";
import { publishAdapter, writeLive } from "../../../shared/peft/registry.ts";
import { openRedis } from "../../../shared/redis/redis.ts";
import { startRedis } from "../../support/redis.ts";
import type { Bench } from "../bench.ts";
import { randomAdapter } from "../gateway/random_adapter.ts";
import { startGatewayProcess } from "../gateway/processes.ts";
import { requestOf, Wire } from "../gateway/wire.ts";

const key = "bench-key-0123456789";
const domain = "legal";
/** Between two questions that look for the new generation. */
const askEveryMs = 10;

export const swap: Bench = {
  name: "swap",
  about: "adapters swapped under load: publish to the first token by the new generation, failed and mixed answers",
  async run({ report, say, option }) {
    const swaps = Number(option("swaps", "100"));
    const streams = Number(option("streams", "2"));
    const base = option("base", "everlora-tiny");
    const data = await mkdtemp(join(tmpdir(), "everlora-bench-"));
    const redis = await startRedis();
    const direct = await openRedis(redis.url, "failFast", silentLogger);
    const loras = join(data, "loras");
    const { name, sha256, config } = await openModelFolder(pathsOf({ DATA_DIR: data, BASE_MODEL: base }).baseModel);
    const made = await Promise.all([1, 2, 3].map((seed) => publishAdapter({ loras, domain, ...randomAdapter(config, 16, seed), base: { name, sha256 }, runId: "run-bench-000000", heldOut: { base: 2, adapter: 1, rows: 1, tokens: 1 } })));
    const generations = made.map(({ generation }) => generation);
    /** As services/trainer/publish.ts does. @returns when the bell was rung */
    const point = async (generation: string) => {
      let rung = NaN;
      await writeLive(loras, domain, { generation, reason: "bench" }, async () => {
        rung = performance.now();
        await publish(direct, "adapters", { type: "published", domain, generation, at: Date.now() });
      });
      return rung;
    };
    await writeLive(loras, domain, { generation: generations[0] ?? "", reason: "bench" });
    const gateway = await startGatewayProcess({ DATA_DIR: data, BASE_MODEL: base, REDIS_URL: redis.url, EVERLORA_API_KEY: key, GATEWAY_PORT: "0" });
    const wire = new Wire(gateway.url);
    const headers = { authorization: `Bearer ${key}`, "cache-control": "no-store" };
    const counts = { answered: 0, failed: 0, mixed: 0 };
    let running = true;
    let asked = 0;
    /** A stream of some tokens; its header and every event must name one generation. */
    const ask = async (tokens: number) => {
      const request = requestOf(gateway.url, "/v1/chat/completions", headers, JSON.stringify({ model: domain, stream: true, max_tokens: tokens, messages: [{ role: "user", content: `Question ${asked++} about my lease.` }] }));
      const { status, headers: head, body } = await wire.send(request);
      const generation = /x-everlora-generation: (\w+)/i.exec(head)?.[1];
      const named = new Set([...body.matchAll(/"model":"legal@(\w+)"/g)].map((match) => match[1]));
      counts.answered++;
      if (status !== 200 || !body.includes("[DONE]")) counts.failed++;
      else if (named.size !== 1 || !named.has(generation)) counts.mixed++;
      return generation;
    };
    /** When the first client had a token by it. Questions come at a fixed pace, whether or not the ones before were answered: how long the old generation takes for its last answers is not part of a swap. */
    const firstAnswerBy = async (generation: string) => {
      const from = performance.now();
      const questions: Promise<void>[] = [];
      let first: number | undefined;
      while (first === undefined) {
        if (performance.now() - from > 10_000) throw new Error(`generation ${generation} did not come`);
        questions.push(
          ask(1).then((by) => {
            if (by === generation) first ??= performance.now();
          }),
        );
        await sleep(askEveryMs);
      }
      await Promise.all(questions);
      return first;
    };
    try {
      const load = Array.from({ length: streams }, async () => {
        while (running) await ask(24);
      });
      await sleep(2_000);
      // What one token costs beside the same load when nothing is swapped: no swap can be faster than that.
      const plainTimes: number[] = [];
      for (let at = 0; at < 40; at++) {
        const started = performance.now();
        await ask(1);
        plainTimes.push(performance.now() - started);
      }
      const toFirstToken: number[] = [];
      const sinceBell: number[] = [];
      const written: number[] = [];
      for (let at = 0; at < swaps; at++) {
        const next = generations[(at + 1) % generations.length] ?? "";
        const started = performance.now();
        const pointed = point(next);
        const first = await firstAnswerBy(next);
        const rung = await pointed;
        written.push(rung - started);
        toFirstToken.push(first - started);
        sinceBell.push(first - rung);
        await sleep(20);
      }
      running = false;
      await Promise.all(load);
      const metrics = await (await fetch(`${gateway.url}/metrics`, { headers })).text();
      const total = (suffix: string) => Number(new RegExp(`everlora_adapter_load_duration_seconds_${suffix}\\{[^}]*\\} (\\S+)`).exec(metrics)?.[1]);
      const live = (1_000 * total("sum")) / total("count");
      const whole = percentiles(toFirstToken);
      say(`${swaps} swaps beside ${streams} streams: p50 ${whole.p50.toFixed(1)} ms, p99 ${whole.p99.toFixed(1)} ms; ${counts.answered} answers, ${counts.failed} failed, ${counts.mixed} mixed; live ${live.toFixed(1)} ms after the bell rang, on average`);
      report({ case: `publish to first token, ${streams} streams`, sizes: { swaps, streams, base, rank: 16, ...counts }, ours: whole.p99, unit: "ms at p99", bar: "< 50 ms, none failed, none mixed", detail: { p50: whole.p50, max: whole.max, untilWritten: percentiles(written), sinceBell: percentiles(sinceBell), meanUntilLive: live, oneToken: percentiles(plainTimes) } });
    } finally {
      running = false;
      wire.close();
      await gateway.stop();
      direct.disconnect();
      await redis.stop();
      await rm(data, { recursive: true, force: true });
    }
  },
};

/** By nearest rank: of 100 figures the 99th is p99. */
function percentiles(figures: readonly number[]): { p50: number; p99: number; max: number } {
  const sorted = [...figures].sort((a, b) => a - b);
  const at = (part: number) => sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
