/** The processes of a gateway bench: mock upstream, gateway, load generator; each its own, and all ended with the bench. */
import { fork, spawn, type ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { readyMessageSchema } from "../../../shared/config/lifecycle.ts";
import type { OpenLoopOptions, OpenLoopResult } from "./open_loop.ts";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const execArgv = ["--import", import.meta.resolve("tsx")];

export interface Running {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startMock(script = "./mock_upstream.ts", args: readonly string[] = []): Promise<Running> {
  const child = fork(here(script), [...args], { execArgv, stdio: ["ignore", "pipe", "inherit", "ipc"] });
  const url = await firstLine(child);
  return running(child, url);
}

/** @param environment settings of the gateway; @param nodeArguments for a profile; @param script another entry, with another engine */
export async function startGatewayProcess(environment: Readonly<Record<string, string>>, nodeArguments: readonly string[] = [], script = "../../../services/gateway/main.ts"): Promise<Running> {
  const child = fork(here(script), [], { execArgv: [...execArgv, ...nodeArguments], env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "inherit", "ipc"] });
  let log = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-4_000)));
  const url = await new Promise<string>((resolve, reject) => {
    child.once("exit", () => reject(new Error(`the gateway ended:\n${log}`)));
    child.on("message", (message) => {
      const ready = readyMessageSchema.safeParse(message);
      if (ready.success) resolve(ready.data.url);
    });
  });
  return running(child, url);
}

export async function openLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const child = spawn(process.execPath, [...execArgv, here("./open_loop.ts"), JSON.stringify(options)], { stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(await firstLine(child)) as OpenLoopResult;
}

/** User and system time that a process and its threads have taken; NaN where there is no /proc. */
export async function processorSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // Behind the command's name, which may hold blanks: fields 14 and 15 of proc(5), in ticks of 1/100 s.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.once("exit", (code) => reject(new Error(`a process of the bench ended with ${code}: ${text}`)));
    child.stdout?.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
    });
  });
}

function running(child: ChildProcess, url: string): Running {
  const reap = () => void child.kill("SIGKILL");
  process.once("exit", reap);
  return {
    url,
    pid: child.pid ?? 0,
    stop: () =>
      new Promise((resolve) => {
        process.off("exit", reap);
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once("exit", () => resolve());
        if (child.connected) child.disconnect();
        else child.kill("SIGTERM");
      }),
  };
}
