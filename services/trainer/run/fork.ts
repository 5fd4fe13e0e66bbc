/**
 * The trainer's end of a run child: starts it, hands on its reports one after the other, ends it, and says how it ended. One process for each attempt:
 * nothing of one run (memory, native state) reaches the next.
 */
import { fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import { environmentOf, parentEnvironment, projectRoot, settingsTable, type Settings } from "../../../shared/config/settings.ts";
import { reportSchema, type Order, type Report, type RunError, type Start } from "./protocol.ts";

export type Ending =
  | { readonly kind: "rejected" }
  | { readonly kind: "stored"; readonly generation: string }
  | { readonly kind: "failed"; readonly error: RunError }
  /** Without last words: killed, crashed, or out of memory. */
  | { readonly kind: "died"; readonly how: string; readonly signal: NodeJS.Signals | null; readonly stderr: string };

export interface RunChild {
  readonly pid: number;
  /** Rejects with what `onReport` threw; the child is dead then, too. */
  readonly ended: Promise<Ending>;
  /** SIGTERM now, SIGKILL after the grace. */
  readonly stop: () => void;
  readonly send: (order: Order) => void;
}

export interface ForkOptions {
  readonly settings: Settings;
  readonly graceMs: number;
  /** Called for each report that is no last word, in order, one at a time. */
  readonly onReport: (report: Report) => Promise<void>;
}

const childModule = fileURLToPath(new URL("./child.ts", import.meta.url));
const stderrKept = 4_000;

export function forkRun(start: Start, options: ForkOptions): RunChild {
  const child = fork(childModule, [], { cwd: projectRoot, execArgv: ["--import", "tsx"], env: childEnvironment(options.settings), stdio: ["ignore", "ignore", "pipe", "ipc"] });
  lowerPriority(child.pid);
  firstToGo(child.pid);
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-stderrKept);
  });

  let killer: NodeJS.Timeout | undefined;
  const stop = () => {
    if (killer !== undefined || child.exitCode !== null) return;
    child.kill("SIGTERM");
    killer = setTimeout(() => child.kill("SIGKILL"), options.graceMs);
  };
  const send = (order: Order) => {
    // A channel that is closed already means a child that is gone; `ended` tells.
    if (child.connected) child.send(order, () => undefined);
  };

  let last: Ending | undefined;
  let fault: { thrown: unknown } | undefined;
  const take = async (message: unknown) => {
    if (fault !== undefined || last !== undefined) return;
    try {
      const report = reportSchema.parse(message);
      last = lastWords(report);
      if (last === undefined) await options.onReport(report);
    } catch (thrown) {
      fault = { thrown };
      stop();
    }
  };
  let taken: Promise<void> = Promise.resolve();
  child.on("message", (message: unknown) => {
    taken = taken.then(() => take(message));
  });

  const ended = new Promise<Ending>((resolve, reject) => {
    // `close` comes after stderr's end, but messages may still be on their way then; `disconnect` comes after the last of them.
    let open = 2;
    let how = "ended";
    let endedBy: NodeJS.Signals | null = null;
    const settle = () => {
      open -= 1;
      if (open > 0) return;
      clearTimeout(killer);
      void taken.then(() => {
        if (fault !== undefined) reject(fault.thrown instanceof Error ? fault.thrown : new Error(String(fault.thrown)));
        else resolve(last ?? { kind: "died", how, signal: endedBy, stderr });
      });
    };
    child.once("disconnect", settle);
    child.once("close", (code, signal) => {
      endedBy = signal;
      how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
      settle();
    });
    child.once("error", (error) => {
      if (child.pid !== undefined) return; // a signal or message that came too late
      reject(error);
    });
  });
  send(start);
  return { pid: child.pid ?? -1, ended, stop, send };
}

function lastWords(report: Report): Ending | undefined {
  if (report.type === "rejected") return { kind: "rejected" };
  if (report.type === "stored") return { kind: "stored", generation: report.generation };
  if (report.type === "failed") return { kind: "failed", error: report.error };
  return undefined;
}

/** The trainer's environment with its settings, but without secrets: a run has no use for them. */
function childEnvironment(settings: Settings): Record<string, string | undefined> {
  const environment = { ...parentEnvironment(), ...environmentOf(settings) };
  for (const [name, row] of Object.entries(settingsTable)) if ("secret" in row) delete environment[name];
  return environment;
}

/** Training takes every core it gets; the gateway's answers go first. */
function lowerPriority(pid: number | undefined): void {
  try {
    if (pid !== undefined) setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // not allowed here: the run is only less polite
  }
}

/** Where memory runs out, Linux is to take it from the run, which can be done again, and not from who answers applications (man 5 proc, oom_score_adj). */
function firstToGo(pid: number | undefined): void {
  try {
    if (pid !== undefined) writeFileSync(`/proc/${pid}/oom_score_adj`, "900");
  } catch {
    // another system, or a child that is gone already
  }
}
