/** `everlora collect`: one round of collecting now: the stream and the caches to their end, then a snapshot of every domain. */
import { join } from "node:path";
import type { Command } from "commander";
import { pathsOf } from "../shared/config/paths.ts";
import { loadSettings, parentEnvironment, type Settings } from "../shared/config/settings.ts";
import type { CollectReport } from "../shared/datasets/commands.ts";
import { EverloraError } from "../shared/errors/errors.ts";
import { askCollector } from "./data/ask.ts";
import { countWords } from "./data/words.ts";
import { lockFolder } from "./fleet/folder_lock.ts";
import { OwnRedis } from "./fleet/own_redis.ts";
import { command } from "./terminal/report_error.ts";
import { table } from "./terminal/table.ts";

interface Options {
  readonly days?: string;
  readonly collectOnly?: boolean;
  readonly json?: boolean;
}

export function registerCollect(program: Command): void {
  program
    .command("collect")
    .description("collect now: stream and caches to their end, then a snapshot of every domain")
    .option("--days <n>", "the window: rows of the last n days (default: TRAINING_DATA_DAYS)")
    .option("--collect-only", "don't ask for training, though there may be enough rows")
    .option("--json", "one JSON object on stdout")
    .addHelpText(
      "after",
      `
Snapshots are immutable folders training_data/<domain>/<version>/ with dataset.jsonl and manifest.json; what came of this round stands in
training_data/training_data_<time>.json. Other programs' caches in the same Redis (RedisVL, LangChain, LiteLLM, GPTCache) are read, too, and
counted by what could be done with their entries. If everlora is running, its collector does the work.

Examples:
  ./everlora collect --collect-only
  REDIS_URL=redis://cache.internal:6379 ./everlora collect --days 7 --json`,
    )
    .action(command(collect));
}

async function collect(options: Options): Promise<number> {
  const settings = loadSettings();
  const days = options.days === undefined ? undefined : Number(options.days);
  if (days !== undefined && !(days > 0)) throw new EverloraError("unprocessable", `--days ${options.days ?? ""} is not a number above 0.`, { param: "days" });
  const report = await withRedis(settings, (environment) => askCollector({ command: "collect", collectOnly: options.collectOnly === true, ...(days === undefined ? {} : { days }) }, () => undefined, environment));
  process.stdout.write(options.json === true ? `${JSON.stringify(report)}\n` : `${lines(report).join("\n")}\n`);
  return 0;
}

/** Without REDIS_URL the Redis is the one that `up` starts: running with it, or started here for as long as it takes. */
async function withRedis<T>(settings: Settings, work: (environment: Record<string, string>) => Promise<T>): Promise<T> {
  if (settings.REDIS_URL !== undefined) return work({});
  const { state } = pathsOf(settings);
  let lock: Awaited<ReturnType<typeof lockFolder>>;
  try {
    lock = await lockFolder(join(state, "up.lock"));
  } catch (error) {
    if (error instanceof EverloraError && error.code === "already_running") return work({});
    throw error;
  }
  try {
    const redis = await OwnRedis.start({ folder: join(state, "redis"), searchPath: parentEnvironment()["PATH"] ?? "", onRestart: () => undefined, onGivenUp: () => undefined });
    try {
      return await work({ REDIS_URL: redis.url });
    } finally {
      await redis.stop();
    }
  } finally {
    await lock.release();
  }
}

function lines({ found, caches, domains, report, triggered }: CollectReport): string[] {
  const counted = Object.entries(caches).filter(([, counts]) => Object.values(counts).some((count) => count > 0));
  return [
    `${found.rows} new rows, ${found.dropped} dropped`,
    ...table([{ title: "domain" }, { title: "snapshot" }, { title: "rows", align: "right" }, { title: "train", align: "right" }, { title: "held out", align: "right" }], domains.map(({ domain, snapshot, rows, train, heldOut }) => [domain, snapshot ?? "-", String(rows), String(train), String(heldOut)])),
    ...counted.map(([layout, counts]) => `cache ${layout}: ${countWords(counts).replaceAll("_", " ")}`),
    ...triggered.map((run) => `asked for training: ${run}`),
    report,
  ];
}
