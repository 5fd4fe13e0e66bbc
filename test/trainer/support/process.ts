/** A trainer as a process of its own, so that it can be killed. Started with the options of the tests. */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { projectRoot } from "../../../shared/config/settings.ts";
import { fastOptions } from "./bench.ts";

export interface TrainerProcess {
  readonly process: ChildProcess;
  /** Sends the signal and waits for the end. */
  end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null>;
}

export async function forkTrainer(environment: Record<string, string>): Promise<TrainerProcess> {
  const entry = fileURLToPath(new URL("./trainer_main.ts", import.meta.url));
  const child = fork(entry, [JSON.stringify(fastOptions)], { cwd: projectRoot, execArgv: ["--import", "tsx"], env: { PATH: process.env["PATH"], ...environment } });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const reap = () => child.kill("SIGKILL");
  process.once("exit", reap);
  await Promise.race([
    new Promise<void>((resolve) => child.once("message", () => resolve())),
    ended.then((code) => {
      throw new Error(`the trainer ended with ${code} before it was ready`);
    }),
  ]);
  return {
    process: child,
    end: async (signal) => {
      child.kill(signal);
      const code = await ended;
      process.removeListener("exit", reap);
      return code;
    },
  };
}
