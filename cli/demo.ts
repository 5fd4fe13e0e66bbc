/**
 * `everlora demo`: the whole loop on the bundled conversations, in a folder of its own. It fills the cache as an application would have, and from
 * then on only looks: what happens, the services do by themselves.
 */
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { pathsOf } from "../shared/config/paths.ts";
import { parentEnvironment, type Settings } from "../shared/config/settings.ts";
import type { EverloraError } from "../shared/errors/errors.ts";
import { loadApiKey } from "../shared/http/auth.ts";
import { DemoClient } from "./demo/client.ts";
import { compareBest, type Comparison } from "./demo/comparison.ts";
import { printComparison, printDomains, printReasons } from "./demo/print.ts";
import { firstAnswer, type FirstAnswer } from "./demo/prober.ts";
import { showProgress } from "./demo/progress.ts";
import { domainReports, type DomainReport } from "./demo/report.ts";
import { putIntoCache, readSamples } from "./demo/samples.ts";
import { demoSettings, settingsOfDemo } from "./demo/settings.ts";
import { watch } from "./demo/watch.ts";
import { Fleet } from "./fleet/fleet.ts";
import { stopSignals } from "./fleet/signals.ts";
import { jsonView } from "./terminal/log_view.ts";
import { command } from "./terminal/report_error.ts";
import { painter } from "./terminal/style.ts";

interface DemoOptions {
  readonly json?: boolean;
  readonly remove?: boolean;
}

interface Result {
  readonly ok: boolean;
  /** Why not, or what went live. */
  readonly reason: string;
  readonly seconds: number;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly details: Readonly<Record<string, string>>;
  readonly conversations: number;
  readonly domains: readonly DomainReport[];
  readonly comparison: Comparison | null;
  /** null when it was removed. */
  readonly dataFolder: string | null;
}

/** After this the demo reports what there is: with the comparison and the orderly end it stays within five minutes. */
const limitMs = 270_000;
/** Time for the first answers of adapters that went live at the very end. */
const lastAnswersMs = 10_000;
const seed = 17;

export function registerDemo(program: Command): void {
  program
    .command("demo")
    .description("show the whole loop on bundled conversations, in a few minutes")
    .option("--json", "the result as one JSON document on stdout")
    .option("--remove", "remove the data folder at the end (rows, runs, adapters, log); default: leave it and say where it is")
    .addHelpText(
      "after",
      `
Starts everything on free ports in a temporary folder, puts ${"the sample conversations"} into the semantic cache as an application
would have left them, and touches nothing from then on. The collector finds them, sorts out junk and duplicates, anonymises, and
classifies; at the threshold it asks for trainings; the trainer trains and tests; the gate decides; the gateway loads what passed.

Exits with 0 if at least one adapter went live. Nothing else on this machine is touched; REDIS_URL is not used.
These settings differ from the defaults, and an environment variable overrides each:
${Object.entries(demoSettings)
  .map(([name, value]) => `  ${name}=${value}`)
  .join("\n")}`,
    )
    .action(command(demo));
}

async function demo(options: DemoOptions): Promise<number> {
  const started = Date.now();
  const folder = await mkdtemp(join(tmpdir(), "everlora-demo-"));
  const settings = settingsOfDemo(parentEnvironment(), folder);
  const log = createWriteStream(join(folder, "demo.log"));
  const view = jsonView((text) => void log.write(text));
  const stop = new AbortController();
  const fleet = new Fleet({
    settings,
    onLine: view,
    onRestart: (service, reason) => say(`${service} crashed (${reason})`),
    onFailure: (error: EverloraError) => stop.abort(error),
  });
  const signals = stopSignals(() => {
    fleet.kill();
    process.exit(signals.exitCode());
  });
  void signals.first.then((signal) => stop.abort(new Error(`ended by ${signal}`)));
  // Left by default: who doubts a figure can look at the file that it came from.
  let keep = options.remove !== true;
  try {
    const result = await runLoop(fleet, settings, started, stop.signal);
    keep ||= !result.ok;
    print({ ...result, dataFolder: keep ? folder : null }, options);
    return result.ok ? 0 : 1;
  } catch (error) {
    if (signals.exitCode() > 0) {
      keep = false;
      return signals.exitCode();
    }
    keep = true;
    throw error;
  } finally {
    await fleet.stop();
    await new Promise((resolve) => log.end(resolve));
    signals.dispose();
    if (keep) say(`everything is in ${folder} (what the services said: demo.log)`);
    else await rm(folder, { recursive: true, force: true });
  }
}

async function runLoop(fleet: Fleet, settings: Settings, started: number, signal: AbortSignal): Promise<Omit<Result, "dataFolder">> {
  const paths = pathsOf(settings);
  const chosen = Object.fromEntries(Object.keys(demoSettings).map((name) => [name, settings[name as keyof typeof demoSettings]]));
  say(`settings: ${Object.entries(chosen).map(([name, value]) => `${name}=${value}`).join(" ")}`);
  say("starting Redis, gateway, collector, trainer and control");
  await unlessAborted(fleet.start(), signal);
  for (const [name, value] of Object.entries(fleet.details())) say(`${name}: ${value}`);

  const { apiKey } = await loadApiKey(settings.EVERLORA_API_KEY, paths.apiKeyFile);
  const client = new DemoClient({ gateway: fleet.url("gateway"), collector: fleet.url("collector"), control: fleet.url("control") }, apiKey, signal);
  const conversations = await readSamples(paths.samples, seed);
  await putIntoCache(fleet.redisUrl, conversations, settings.CACHE_TTL);
  say(`put ${conversations.length} conversations into the cache; from here on nothing is touched`);

  const probing = new AbortController();
  const probes = (await client.collector()).domains.map(({ domain }) => firstAnswer(domain, paths.loras, client, AbortSignal.any([signal, probing.signal])).catch(() => undefined));
  const progress = showProgress(process.stderr);
  let finished: boolean;
  try {
    ({ finished } = await watch(client, conversations.length, started + limitMs, (seen) => progress.show(seen), signal));
  } finally {
    progress.stop();
  }
  const answers = await answersOf(probes, paths.loras, probing, await domainReports(paths, []));
  const domains = await domainReports(paths, answers);
  const comparison = await compareBest(domains, paths, client);
  const live = domains.filter((report) => report.live !== null);
  const reason = live.length > 0 ? `live: ${live.map(({ domain }) => domain).join(", ")}` : finished ? "no adapter passed the gate" : `no adapter went live within ${limitMs / 1000} s`;
  return { ok: live.length > 0, reason, seconds: Math.round((Date.now() - started) / 100) / 10, settings: chosen, details: fleet.details(), conversations: conversations.length, domains, comparison };
}

/** The probes of the domains that went live have an answer coming; the others wait for ever, and are ended. */
async function answersOf(probes: readonly Promise<FirstAnswer | undefined>[], loras: string, probing: AbortController, reports: readonly DomainReport[]): Promise<FirstAnswer[]> {
  const expected = reports.filter(({ live }) => live !== null).length;
  const found: FirstAnswer[] = [];
  const all = new Promise<void>((resolve) => {
    if (expected === 0) resolve();
    for (const probe of probes) {
      void probe.then((answer) => {
        if (answer !== undefined) found.push(answer);
        if (found.length >= expected) resolve();
      });
    }
  });
  const limit = setTimeout(() => probing.abort(), lastAnswersMs);
  await Promise.race([all, new Promise<void>((resolve) => probing.signal.addEventListener("abort", () => resolve(), { once: true }))]);
  clearTimeout(limit);
  probing.abort();
  return found;
}

function print(result: Result, options: DemoOptions): void {
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(result, null, 1)}\n`);
    return;
  }
  const paint = painter(process.stdout);
  const parts = [
    printDomains(result.domains),
    printReasons(result.domains),
    result.comparison === null ? "" : printComparison(result.comparison, paint, process.stdout.isTTY ? process.stdout.columns : 120),
    `${paint(result.ok ? "The loop turned." : "The loop did not turn.", "bold", result.ok ? "green" : "red")} ${result.reason}. It took ${result.seconds} s.`,
  ];
  process.stdout.write(`\n${parts.filter((part) => part !== "").join("\n\n")}\n`);
}

const say = (text: string) => void process.stderr.write(`${text}\n`);

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined); // when the signal is faster, nobody is left to hear it
  return Promise.race([work, new Promise<never>((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }))]);
}
