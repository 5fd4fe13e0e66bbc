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
    const point = async (generation: string) => {
      await writeLive(loras, domain, { generation, reason: "bench" });
      const at = Date.now();
      await publish(direct, "adapters", { type: "published", domain, generation, at });
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
      plainTimes.sort((a, b) => a - b);
      const plain = (part: number) => plainTimes[Math.min(plainTimes.length - 1, Math.floor(plainTimes.length * part))] ?? NaN;
      const toFirstToken: number[] = [];
      for (let at = 0; at < swaps; at++) {
        const next = generations[(at + 1) % generations.length] ?? "";
        const started = performance.now();
        await point(next);
        // Asked again until the new one answers: the last one that didn't is part of the time.
        while ((await ask(1)) !== next) if (performance.now() - started > 10_000) throw new Error(`generation ${next} did not come`);
        toFirstToken.push(performance.now() - started);
        await sleep(20);
      }
      running = false;
      await Promise.all(load);
      const metrics = await (await fetch(`${gateway.url}/metrics`, { headers })).text();
      const total = (suffix: string) => Number(new RegExp(`everlora_adapter_load_duration_seconds_${suffix}\\{[^}]*\\} (\\S+)`).exec(metrics)?.[1]);
      const live = (1_000 * total("sum")) / total("count");
      const sorted = toFirstToken.sort((a, b) => a - b);
      const share = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
      say(`${swaps} swaps beside ${streams} streams: p50 ${share(0.5).toFixed(1)} ms, p99 ${share(0.99).toFixed(1)} ms; ${counts.answered} answers, ${counts.failed} failed, ${counts.mixed} mixed; live ${live.toFixed(1)} ms after the bell rang, on average`);
      report({ case: `publish to first token, ${streams} streams`, sizes: { swaps, streams, base, rank: 16, ...counts }, ours: share(0.99), unit: "ms at p99", bar: "< 50 ms, none failed, none mixed", detail: { p50: share(0.5), max: sorted.at(-1), meanUntilLive: live, oneToken: { p50: plain(0.5), p99: plain(0.99) } } });
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
