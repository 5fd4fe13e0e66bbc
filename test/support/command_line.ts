/** Runs the command-line program as a user would, but without the launcher. */
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { parentEnvironment, projectRoot } from "../../shared/config/settings.ts";

export interface Running {
  readonly child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | string | null>;
}

/** Settings of whoever runs the tests must not change what they see. */
const inherited = ["PATH", "HOME", "TMPDIR", "NODE_OPTIONS"];

export function everlora(parameters: readonly string[], environment: Readonly<Record<string, string>> = {}, cwd = projectRoot): Running {
  const kept = Object.fromEntries(Object.entries(parentEnvironment()).filter(([name]) => inherited.includes(name)));
  const child = spawn(process.execPath, [...process.execArgv, join(projectRoot, "cli", "main.ts"), ...parameters], { cwd, env: { ...kept, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return { child, stdout: () => stdout, stderr: () => stderr, ended: new Promise((resolve) => child.once("close", (code, signal) => resolve(signal ?? code))) };
}
