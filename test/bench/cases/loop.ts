/**
 * The whole loop on a base of SmolLM2-135M's shape with random weights: `everlora up` as a user starts it, real rows through the cache, a training that
 * begins by itself, evaluation, publication, and `model: auto` answered by the new generation. How long each part takes, and what all processes
 * together have in memory at most.
 */
import { cp, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { DemoClient } from "../../../cli/demo/client.ts";
import { putIntoCache, readSamples } from "../../../cli/demo/samples.ts";
import { pathsOf } from "../../../shared/config/paths.ts";
import { finalStates, logFile, type Run } from "../../../shared/runs/run.ts";
import { lastRun } from "../../../shared/runs/store.ts";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import { everlora, type Running } from "../../support/command_line.ts";
import { smolLm2, writeRandomModel } from "../../support/random_model.ts";
import { startRedis } from "../../support/redis.ts";
import type { Bench } from "../bench.ts";
import { askAuto, streamsOf, type Gateway } from "../loop/questions.ts";
import { mappingsOf, type Mapped } from "../support/process_memory.ts";
import { Peaks } from "../support/peaks.ts";

const key = "bench-key-0123456789";
const limitMiB = 8 * 1_024;
const upLine = z.looseObject({ msg: z.literal("everlora is up"), urls: z.object({ gateway: z.string(), collector: z.string(), control: z.string() }) });

export const loop: Bench = {
  name: "loop",
  about: "SmolLM2-135M's shape with random weights trains, publishes and serves: time and peak memory of each part; --domain, --quantization, --replicas, --rate, --epochs",
  async run({ report, say, option }) {
    const folder = await mkdtemp(join(tmpdir(), "everlora-loop-"));
    const [domain, quantization, replicas] = [option("domain", "support"), option("quantization", "none"), option("replicas", "2")];
    const learning = { TRAINING_EPOCHS: option("epochs", "1"), LEARNING_RATE: option("rate", "1e-3"), GRADIENT_CHECKPOINTING: option("checkpointing", "auto") };
    const redis = await startRedis();
    let [up, peaks] = [undefined, undefined] as [Running | undefined, Peaks | undefined];
    try {
      say("writing a model of random weights …");
      const base = await writeRandomModel(join(folder, "base"), smolLm2);
      const conversations = await samplesOf(domain, join(folder, "samples"));
      const settings = { DATA_DIR: folder, BASE_MODEL: base, REDIS_URL: redis.url, EVERLORA_API_KEY: key, QUANTIZATION: quantization, ENGINE_REPLICAS: replicas, COLLECT_INTERVAL: "1", AUTO_TRAINING_INTERVAL: "0", ...ports, ...learning };
      const running = everlora(["up", "--json"], settings);
      up = running;
      const roots = [running.child.pid ?? 0, redis.pid];
      const parts = new Peaks(() => roots);
      peaks = parts;

      parts.begin("start");
      const urls = await urlsOf(running);
      const client = new DemoClient(urls, key, AbortSignal.timeout(3_600_000));
      const gateway: Gateway = { url: urls.gateway, key };
      say("everlora is up; the base answers");
      const before = await askAuto(gateway, "Where is my parcel? The tracking says nothing.", 8);

      parts.begin("collect");
      await putIntoCache(redis.url, conversations, 86_400);
      let training: Mapped[] = [];
      const run = await ended(client, folder, domain, running, say, async (part, step) => {
        parts.begin(part);
        if (part === "train" && step > 0 && training.length === 0) training = await mappingsOf(roots, "weights.bin");
      });
      if (run.state !== "published") throw new Error(`the run ended ${run.state}: ${run.error?.message ?? run.gate?.reasons.join("; ") ?? ""}`);

      parts.begin("first answer of the new generation");
      let asked = 0;
      let answer = await askAuto(gateway, "Where is my order number 0? The delivery is late.", 8);
      while (answer.generation !== run.generation) answer = await askAuto(gateway, `Where is my order number ${++asked}? The delivery is late.`, 8);

      parts.begin("eight streams");
      const served = await streamsOf(gateway, 8, 64);
      const mapped = await mappingsOf(roots, "weights.bin");
      const seen = await parts.end();
      const peak = Math.max(...seen.map(({ peakMiB }) => peakMiB));
      for (const line of running.stdout().split("\n")) if (/"level":"(error|fatal)"/.test(line)) say(line);
      for (const part of seen) say(`${part.name}: ${part.seconds} s, at most ${part.peakMiB} MiB ${JSON.stringify(part.processes)}`);
      report({
        case: `train, publish and serve, ${quantization}`,
        sizes: { ...smolLm2, quantization, replicas: Number(replicas), cores: availableParallelism(), constrainedMiB: constrained(), rank: run.settings.rank, rows: run.dataset?.rows ?? 0, steps: run.training?.steps ?? 0, positions: 1_024 },
        ours: peak,
        unit: "MiB at most, all processes together",
        ratio: peak / limitMiB,
        bar: "≤ 8 GiB, two cores; published and answered by the new generation",
        versions: { onnxruntime: runtimeVersion },
        detail: { attempts: run.attempt, parts: seen, gate: run.gate, losses: run.losses, training: run.training, before, answer, served, weights: { training, serving: mapped } },
      });
    } finally {
      up?.child.kill("SIGTERM");
      await up?.ended;
      await peaks?.end();
      await redis.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

const ports = { GATEWAY_PORT: "0", COLLECTOR_PORT: "0", TRAINER_PORT: "0", CONTROL_PORT: "0" };

/** MiB that the control group allows, where it allows less than there is: `systemd-run --scope -p MemoryMax=8G` makes one. */
function constrained(): number | null {
  const bytes = process.constrainedMemory();
  return bytes === 0 || bytes > 2 ** 50 ? null : Math.round(bytes / 2 ** 20);
}

async function samplesOf(domain: string, folder: string) {
  const { samples } = pathsOf({ DATA_DIR: folder, BASE_MODEL: "everlora-tiny" });
  await mkdir(folder);
  await cp(join(samples, `${domain}.jsonl`), join(folder, `${domain}.jsonl`));
  return readSamples(folder, 17);
}

async function urlsOf(running: Running): Promise<z.infer<typeof upLine>["urls"]> {
  const gone = running.ended.then((code) => {
    throw new Error(`everlora up ended with ${code}:\n${running.stdout().slice(-4_000)}${running.stderr().slice(-2_000)}`);
  });
  const ready = (async () => {
    for (;;) {
      for (const line of running.stdout().split("\n")) {
        const parsed = line.includes("everlora is up") ? upLine.safeParse(JSON.parse(line)) : null;
        if (parsed?.success === true) return parsed.data.urls;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  return Promise.race([ready, gone]);
}

/** Looks until the domain's run has ended. @param onPart what it is at, and its step */
async function ended(client: DemoClient, folder: string, domain: string, running: Running, say: (text: string) => void, onPart: (part: string, step: number) => Promise<void>): Promise<Run> {
  const { runs } = pathsOf({ DATA_DIR: folder, BASE_MODEL: "everlora-tiny" });
  for (let lastStep = -1; ; ) {
    if (running.child.exitCode !== null) throw new Error(`everlora up ended:\n${running.stdout().slice(-4_000)}`);
    const run = await lastRun(runs, domain);
    if (run !== null && finalStates.includes(run.state)) return run;
    if (run?.state === "running") {
      const { progress = null } = (await client.control()).domains.find((each) => each.domain === domain)?.lastRun ?? {};
      const step = progress?.step ?? 0;
      await onPart(partOf(await readFile(join(runs, run.id, logFile), "utf8").catch(() => ""), step, progress?.steps ?? Infinity), step);
      if (progress !== null && step !== lastStep) say(`step ${step} of ${progress.steps}, loss ${progress.loss?.toFixed(3) ?? "unknown"}`);
      lastStep = step;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** What the run's log says that it has done. */
function partOf(log: string, step: number, steps: number): string {
  if (step >= steps) return "evaluate and publish";
  if (log.includes("Base before training")) return "train";
  return log.includes("Traced and compiled") ? "evaluate the base" : "prepare and compile";
}
