/** A trainer as a process of its own, so that it can be killed. Started with the options of the tests. */
import { fork, type ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { projectRoot } from "../../../shared/config/settings.ts";
import type { TrainerOptions } from "../../../services/trainer/context.ts";
import { until } from "../../support/wait.ts";
import { fastOptions, type Bench } from "./bench.ts";

export interface TrainerProcess {
  readonly process: ChildProcess;
  /** Sends the signal and waits for the end. */
  end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null>;
}

/** So long may a trainer take to start on a busy machine: modules, Redis, the reconciliation of old runs. */
const startLimitMs = 60_000;

/**
 * Resolves when the trainer is ready. It ends with the bench, whatever becomes of the test.
 * @param options besides those of all tests
 * @throws when it ends or does not become ready, with what it said
 */
export async function forkTrainer(bench: Bench, options: Partial<TrainerOptions> = {}): Promise<TrainerProcess> {
  const entry = fileURLToPath(new URL("./trainer_main.ts", import.meta.url));
  const environment = { PATH: process.env["PATH"], ...bench.environment };
  const child = fork(entry, [JSON.stringify({ ...fastOptions, ...options })], { cwd: projectRoot, execArgv: ["--import", "tsx"], env: environment, stdio: ["ignore", "pipe", "pipe", "ipc"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", (text: string) => (output += text));
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const reap = () => child.kill("SIGKILL");
  process.once("exit", reap);
  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    child.kill(signal);
    const code = await ended;
    process.removeListener("exit", reap);
    return code;
  };
  bench.closing({ close: () => end("SIGKILL") });
  let limit: NodeJS.Timeout | undefined;
  await Promise.race([
    new Promise<void>((resolve) => child.once("message", () => resolve())),
    ended.then((code) => {
      throw new Error(`the trainer ended with ${code} before it was ready: ${output}`);
    }),
    new Promise<never>((_, reject) => {
      limit = setTimeout(() => reject(new Error(`the trainer was not ready after ${startLimitMs} ms (Redis: ${bench.redis.status}): ${output}`)), startLimitMs);
    }),
  ]).finally(() => clearTimeout(limit));
  return { process: child, end };
}

/** Pids of the run children of a trainer. */
async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const pids = text.trim().split(" ").filter((word) => word !== "").map(Number);
  const named = await Promise.all(pids.map(async (child) => ((await commandOf(child)).includes("run/child.ts") ? [child] : [])));
  return named.flat();
}

/** The command line of a process; empty when it is gone. */
export const commandOf = (pid: number) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");

export async function childOf(trainer: TrainerProcess): Promise<number> {
  return until("a run child", async () => (await childrenOf(trainer.process.pid ?? 0))[0]);
}
