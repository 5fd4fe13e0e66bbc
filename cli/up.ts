/** `everlora up`: everything, on this machine, until Ctrl-C. What it starts and how that ends is in fleet/; here is what a person sees of it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { pathsOf } from "../shared/config/paths.ts";
import { loadSettings, type Settings } from "../shared/config/settings.ts";
import type { EverloraError } from "../shared/errors/errors.ts";
import { loadApiKey } from "../shared/http/auth.ts";
import { parseModelId } from "../shared/hub/model_id.ts";
import { addressOf } from "../shared/redis/redis.ts";
import { Fleet, type FleetOptions } from "./fleet/fleet.ts";
import { lockFolder } from "./fleet/folder_lock.ts";
import { preflight } from "./fleet/preflight.ts";
import { stopSignals } from "./fleet/signals.ts";
import { pullModel } from "./pull/pull_model.ts";
import { jsonView, prettyView } from "./terminal/log_view.ts";
import { command } from "./terminal/report_error.ts";
import { painter } from "./terminal/style.ts";

type ApiKey = Awaited<ReturnType<typeof loadApiKey>>;
type Say = (level: string, msg: string, fields?: Record<string, unknown>) => void;

export interface UpOptions {
  readonly json?: boolean;
  /** Other service scripts, for tests. */
  readonly scripts?: FleetOptions["scripts"];
}

export function registerUp(program: Command): void {
  program
    .command("up")
    .description("run everything: Redis, gateway, collector, trainer, control")
    .option("--json", "log lines as JSON (the default when stdout is no terminal)")
    .addHelpText(
      "after",
      `
Starts a Redis server of its own (files under DATA_DIR/.everlora/redis) unless REDIS_URL names one.
Prints each URL, where models are computed and why, and the API key when it is made (once).

Ctrl-C ends everything in order; a second Ctrl-C ends it at once.

Examples:
  ./everlora up
  UPSTREAM_URL=https://host/v1 UPSTREAM_API_KEY=… ./everlora up     answers come from there until an adapter is better
  DATA_DIR=/var/lib/everlora GATEWAY_PORT=9000 ./everlora up
  ./everlora settings                                               what else can be set`,
    )
    .action(command((options: { json?: boolean }) => up(options)));
}

/**
 * Runs until a signal ends it, then returns the exit code.
 * @throws EverloraError already_running, invalid_settings, or what keeps one of the parts from starting or from going on
 */
export async function up(options: UpOptions): Promise<number> {
  const settings = loadSettings();
  const paths = pathsOf(settings);
  const lock = await lockFolder(join(paths.state, "up.lock"));
  try {
    // By id: fetched before anything starts, so that the services find a folder.
    const id = existsSync(settings.BASE_MODEL) ? null : parseModelId(settings.BASE_MODEL);
    if (id !== null) await pullModel(id, settings);
    await preflight(settings);
    const key = await loadApiKey(settings.EVERLORA_API_KEY, paths.apiKeyFile);
    return await run(settings, key, options);
  } finally {
    await lock.release();
  }
}

async function run(settings: Settings, key: ApiKey, options: UpOptions): Promise<number> {
  const json = options.json === true || !process.stdout.isTTY;
  const write = (text: string) => void process.stdout.write(text);
  const view = json ? jsonView(write) : prettyView(write, painter(process.stdout));
  const say: Say = (level, msg, fields = {}) => view("everlora", JSON.stringify({ level, time: new Date().toISOString(), service: "everlora", msg, ...fields }), "stdout");

  let fail: (error: EverloraError) => void = () => undefined;
  const failed = new Promise<EverloraError>((resolve) => (fail = resolve));
  const fleet = new Fleet({
    settings,
    onLine: view,
    onRestart: (service, reason) => say("error", `${service} crashed`, { reason }),
    onFailure: (error) => fail(error),
    ...(options.scripts === undefined ? {} : { scripts: options.scripts }),
  });
  const signals = stopSignals(() => {
    fleet.kill();
    say("warn", "ended at once");
    process.exit(signals.exitCode());
  });
  try {
    say("info", "starting", { data: settings.DATA_DIR, redis: settings.REDIS_URL === undefined ? "own" : addressOf(settings.REDIS_URL) });
    const started = fleet.start().then(() => "started" as const);
    started.catch(() => undefined); // looked at below, unless a signal is faster
    const outcome = await Promise.race([started, signals.first]);
    if (outcome === "started") {
      announce(fleet, settings, key, json, say);
      const cause = await Promise.race([signals.first, failed]);
      if (typeof cause !== "string") throw cause;
    }
    say("info", "ending; Ctrl-C again ends it at once");
    return 0;
  } finally {
    await fleet.stop();
    say("info", "ended");
    signals.dispose();
  }
}

/** What a person wants to know now. In JSON one line, without the key: logs are kept, and the key is to be shown once. */
function announce(fleet: Fleet, settings: Settings, key: ApiKey, json: boolean, say: Say): void {
  const urls = { gateway: fleet.url("gateway"), collector: fleet.url("collector"), trainer: fleet.url("trainer"), control: fleet.url("control") };
  const details = fleet.details();
  const paint = painter(process.stdout);
  if (json) say("info", "everlora is up", { urls, ...details, redis: addressOf(fleet.redisUrl) });
  if (key.created) {
    const text = `API key (made now, shown this once, kept in ${pathsOf(settings).apiKeyFile}):\n  ${key.apiKey}\n`;
    if (json) process.stderr.write(text);
    else process.stdout.write(`\n${paint(text, "yellow")}`);
  }
  if (json) return;
  const facts: readonly (readonly [string, string])[] = [
    ["gateway", `${urls.gateway}/v1      for any OpenAI client`],
    ["control", `${urls.control}         runs, triggers, adapters`],
    ["collector", `${urls.collector}/metrics`],
    ["trainer", `${urls.trainer}/metrics`],
    ["redis", `${addressOf(fleet.redisUrl)}${fleet.ownsRedis ? " (own, protected by a password)" : ""}`],
    ["data", settings.DATA_DIR],
    ...Object.entries(details),
  ];
  const lines = facts.map(([name, value]) => `  ${paint(name.padEnd(10), "bold")} ${value}`);
  const keyWords = settings.EVERLORA_API_KEY === undefined ? `$(cat '${pathsOf(settings).apiKeyFile}')` : "$EVERLORA_API_KEY";
  process.stdout.write(`
${paint("everlora is up", "bold", "green")}
${lines.join("\n")}

Try it:
  curl -s ${urls.gateway}/v1/chat/completions -H "Authorization: Bearer ${keyWords}" -H 'Content-Type: application/json' \\
    -d '{"model":"auto","messages":[{"role":"user","content":"How do I undo the last git commit?"}]}'

`);
}
