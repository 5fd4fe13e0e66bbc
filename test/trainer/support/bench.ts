/** A data folder, a Redis and a trainer of their own for each test. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunningService } from "../../../shared/config/lifecycle.ts";
import { pathsOf, type Paths } from "../../../shared/config/paths.ts";
import { loadSettings, type Settings } from "../../../shared/config/settings.ts";
import type { Row } from "../../../shared/datasets/row.ts";
import { appendRows } from "../../../shared/datasets/rows.ts";
import { openFineTuneQueue, type FineTuneQueue } from "../../../shared/events/queues.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { openRedis, type Redis } from "../../../shared/redis/redis.ts";
import type { Run, RunState } from "../../../shared/runs/run.ts";
import { findRun } from "../../../shared/runs/store.ts";
import type { TrainerOptions } from "../../../services/trainer/context.ts";
import { startTrainer } from "../../../services/trainer/trainer.ts";
import { until } from "../../support/wait.ts";
import type { Behaviour } from "./fake_trainers.ts";

export const fastOptions: Partial<TrainerOptions> = {
  trainers: new URL("./fake_trainers.ts", import.meta.url).href,
  graceMs: 2_000,
  spareBytes: 0,
  lockMs: 2_000,
  stalledMs: 500,
  cancelPollMs: 50,
  reconcileMs: 500,
};

export const apiKey = "test-key-0123456789";

export class Bench {
  readonly settings: Settings;
  readonly environment: Record<string, string>;
  readonly paths: Paths;
  readonly redis: Redis;
  readonly queue: FineTuneQueue;
  readonly #services: { close(): Promise<unknown> }[] = [];

  private constructor(environment: Record<string, string>, redis: Redis) {
    this.environment = environment;
    this.settings = loadSettings(environment);
    this.paths = pathsOf(this.settings);
    this.redis = redis;
    this.queue = openFineTuneQueue(redis);
    this.queue.on("error", () => undefined);
  }

  /** An empty Redis, an empty data folder, and a base model that the fake trainer trains. */
  static async open(redisUrl: string, behaviour: Behaviour = {}, more: Record<string, string> = {}): Promise<Bench> {
    const data = more["DATA_DIR"] ?? (await mkdtemp(join(tmpdir(), "everlora-test-")));
    const environment = { DATA_DIR: data, BASE_MODEL: join(data, "base"), REDIS_URL: redisUrl, EVERLORA_API_KEY: apiKey, TRAINER_PORT: "0", CONTROL_PORT: "0", MIN_EXAMPLES_PER_DOMAIN: "10", LOG_LEVEL: "silent", ...more };
    const redis = await openRedis(redisUrl, "failFast", silentLogger);
    await redis.flushall();
    const bench = new Bench(environment, redis);
    await bench.behave(behaviour);
    return bench;
  }

  /** A trainer in this process, closed with the bench. */
  async trainer(options: Partial<TrainerOptions> = {}): Promise<RunningService> {
    return this.closing(await startTrainer(this.settings, silentLogger, { ...fastOptions, ...options }));
  }

  /** Closes the service before the rest of the bench: whoever still writes into the data folder would keep it from being removed. */
  closing<S extends { close(): Promise<unknown> }>(service: S): S {
    this.#services.push(service);
    return service;
  }

  async behave(behaviour: Behaviour): Promise<void> {
    await mkdir(this.paths.baseModel, { recursive: true });
    await writeFile(join(this.paths.baseModel, "config.json"), JSON.stringify({ model_type: "fake", behaviour }));
  }

  /** Lets a fake trainer with `waitAfterStep` go on. */
  async go(): Promise<void> {
    await writeFile(join(this.paths.baseModel, "go"), "");
  }

  /** `count` rows, of which every fourth is held out. */
  async rows(domain: string, count: number, { from = 0, createdAt = Date.now() - 60_000 }: { from?: number; createdAt?: number } = {}): Promise<Row[]> {
    const rows = Array.from({ length: count }, (_, index) => row(domain, from + index, createdAt));
    await appendRows(this.paths.trainingData, domain, rows);
    return rows;
  }

  run(id: string): Promise<Run | null> {
    return findRun(this.paths.runs, id);
  }

  async runIn(id: string, ...states: RunState[]): Promise<Run> {
    return until(`${id} to be ${states.join(" or ")}`, async () => {
      const run = await this.run(id).catch(() => null); // some tests damage the record
      return run !== null && states.includes(run.state) ? run : null;
    });
  }

  /** Until the child of this run has done its first steps. */
  async stepsOf(id: string, least: number): Promise<void> {
    await until(`step ${least} of ${id}`, async () => (await this.lines(id, "metrics.jsonl")).length >= least);
  }

  async lines(id: string, file: string): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(this.paths.runs, id, file), "utf8").catch(() => "");
    return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Record<string, unknown>]));
  }

  async logOf(id: string): Promise<string> {
    return (await this.lines(id, "log.jsonl")).map((line) => String(line["message"])).join("\n");
  }

  /** Closes all, whatever becomes of each; the first failure is thrown then. */
  async closeServices(): Promise<void> {
    const outcomes = await Promise.allSettled(this.#services.splice(0).map((service) => service.close()));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  async close(): Promise<void> {
    try {
      await this.closeServices();
    } finally {
      await this.queue.close();
      this.redis.disconnect();
      // A run's child sees a moment later that its trainer was killed, and may write until then.
      await rm(this.settings.DATA_DIR, { recursive: true, force: true, maxRetries: 20 });
    }
  }
}

export function row(domain: string, number: number, createdAt: number): Row {
  const id = sha256(`${domain} ${number}`).slice(0, 32);
  return {
    version: 1,
    id,
    conversation: `conversation-${number}`,
    domain,
    language: "en",
    messages: [
      { role: "user", content: `question ${number}` },
      { role: "assistant", content: `answer ${number}` },
    ],
    split: number % 4 === 3 ? "held-out" : "train",
    cluster: id,
    source: "upstream",
    model: "teacher",
    generation: null,
    caller: "c".repeat(64),
    createdAt,
    collectedAt: createdAt,
    anonymised: {},
  };
}
