/** Programs that a test can use when they are there. */
import { spawnSync } from "node:child_process";

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

/** Runs a program to its end. undefined when there is none of that name. */
export function runProgram(name: string, parameters: readonly string[], input = "", environment: Readonly<Record<string, string>> = {}): Outcome | undefined {
  const { error, status, stdout, stderr } = spawnSync(name, parameters, { input, encoding: "utf8", env: { ...process.env, ...environment } });
  if (error !== undefined && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
  if (error !== undefined) throw error;
  return { code: status, output: `${stdout}${stderr}` };
}
