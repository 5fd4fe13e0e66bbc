/** What the gateway adds to an upstream's own answer, open loop, beside the load generator; and what LiteLLM adds under the same script, where it is there. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startRedis } from "../../support/redis.ts";
import type { Bench } from "../bench.ts";
import { startLiteLlm } from "../gateway/litellm.ts";
import type { OpenLoopOptions, OpenLoopResult } from "../gateway/open_loop.ts";
import { openLoop, processorSeconds, startGatewayProcess, startMock } from "../gateway/processes.ts";

const key = "bench-key-0123456789";

export const gateway: Bench = {
  name: "gateway",
  about: "what the gateway adds to an upstream's answer, open loop; LiteLLM beside it where LITELLM names its program",
  async run({ report, say, option }) {
    const rate = Number(option("rate", "1000"));
    const seconds = Number(option("seconds", "60"));
    const profile = option("profile", "");
    const data = await mkdtemp(join(tmpdir(), "everlora-bench-"));
    const redis = await startRedis();
    const mock = await startMock();
    const ends: (() => Promise<void>)[] = [() => mock.stop(), () => redis.stop(), () => rm(data, { recursive: true, force: true })];
    try {
      const common = { path: "/v1/chat/completions", rate, seconds, warmUp: 5, model: "mock", prompt: "dialogue", seed: 1, headers: { authorization: `Bearer ${key}` } } as const satisfies Partial<OpenLoopOptions>;
      const direct = await openLoop({ ...common, url: mock.url, seconds: Math.min(seconds, 15) });
      say(`mock alone: ${words(direct)}`);
      const ours = await startGatewayProcess({ DATA_DIR: data, REDIS_URL: redis.url, EVERLORA_API_KEY: key, GATEWAY_PORT: "0", UPSTREAM_URL: mock.url, UPSTREAM_MODEL: "mock", BASE_MODEL: "everlora-tiny" }, [...(profile === "" ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`]), ...option("node", "").split(" ").filter((each) => each !== "")]);
      ends.unshift(() => ours.stop());
      const tell = async (name: string, more: Partial<OpenLoopOptions>, note: string, bar?: string) => {
        const before = await processorSeconds(ours.pid);
        const result = await openLoop({ ...common, url: ours.url, ...more });
        // The ratio to a bare server's share of the same run says more on a busy machine than milliseconds do.
        const microseconds = (1e6 * ((await processorSeconds(ours.pid)) - before)) / (rate * (common.warmUp + (more.seconds ?? seconds)));
        say(`${name}: ${words(result)}; ${microseconds.toFixed(0)} µs of processor time a request`);
        report({ case: name, sizes: { rate, seconds: result.sent / rate, ok: result.ok, errors: result.sent - result.ok }, ours: result.p50 - direct.p50, unit: "ms added at the median", ...(bar === undefined ? {} : { bar }), note, detail: { addedP99: result.p99 - direct.p99, processorMicroseconds: microseconds, whole: result, mock: direct } });
      };
      const bar = "median ≤ 2 ms, p99 ≤ 15 ms, no error";
      for (const name of option("cases", "default,no-store,question").split(",")) {
        if (name === "default") await tell("dialogue", {}, "looked up in the cache, a miss, answered by the upstream, cached and recorded", bar);
        if (name === "no-store") await tell("dialogue, no-store", { seconds: Math.min(seconds, 20), headers: { ...common.headers, "cache-control": "no-store" } }, "passed through: what proxies without a cache do", bar);
        if (name === "question") await tell("single questions", { seconds: Math.min(seconds, 20), prompt: "question", seed: 2 }, "as `dialogue`, and the semantic tier compares with every question before");
      }
      await ours.stop();
      ends.shift();
      await peer();
    } finally {
      for (const end of ends) await end().catch(() => undefined);
    }

    async function peer(): Promise<void> {
      const program = option("litellm", process.env["LITELLM"] ?? "");
      if (program === "") return say("LiteLLM: not asked for (LITELLM=<its program>)");
      const theirs = await startLiteLlm(program, mock.url, key, data);
      try {
        const options = { path: "/v1/chat/completions", seconds: Math.min(seconds, 20), warmUp: 5, model: "mock", prompt: "dialogue", seed: 3, headers: { authorization: `Bearer ${key}` }, url: theirs.url } as const;
        for (const each of option("litellm-rates", "50,100,200").split(",").map(Number)) {
          const alone = await openLoop({ ...options, url: mock.url, rate: each, seconds: 5 });
          const result = await openLoop({ ...options, rate: each });
          say(`LiteLLM ${theirs.version} at ${each}/s: ${words(result)}`);
          report({ case: `LiteLLM at ${each}/s`, sizes: { rate: each, seconds: result.sent / each, ok: result.ok, errors: result.sent - result.ok }, ours: result.p50 - alone.p50, unit: "ms added at the median", note: `LiteLLM ${theirs.version}, one worker, no cache`, detail: { addedP99: result.p99 - alone.p99, whole: result } });
          if (result.p50 > 1_000) break; // it can't stand more
        }
      } finally {
        await theirs.stop();
      }
    }
  },
};

const words = ({ p50, p90, p99, max, ok, sent, lag99, achieved, errors }: OpenLoopResult) =>
  `p50 ${p50.toFixed(2)} ms, p90 ${p90.toFixed(2)}, p99 ${p99.toFixed(2)}, max ${max.toFixed(1)}; ${ok} of ${sent} answered (${achieved.toFixed(0)}/s), generator late by ${lag99.toFixed(2)} ms at p99${ok === sent ? "" : ` ${JSON.stringify(errors)}`}`;
