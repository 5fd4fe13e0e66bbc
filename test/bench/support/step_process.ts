/** Runs step_child.ts, and the same in PyTorch where a Python with it is there. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import type { Quantization } from "../../../shared/models/quantization.ts";

const run = promisify(execFile);

export interface StepTask {
  readonly model: string;
  readonly compiled: string;
  readonly quantization: Quantization;
  readonly recompute: boolean;
  readonly rows: number;
  readonly length: number;
  readonly rank: number;
  readonly steps: number;
}

const outcome = z.object({ compile: z.object({ milliseconds: z.number(), trace: z.number(), open: z.number(), nodes: z.int() }), seconds: z.array(z.number()), peakMiB: z.number() });

export async function runStep(task: StepTask): Promise<z.infer<typeof outcome>> {
  const { stdout } = await run(process.execPath, ["--import", "tsx", fileURLToPath(new URL("./step_child.ts", import.meta.url)), JSON.stringify(task)], { maxBuffer: 1 << 24 });
  return outcome.parse(JSON.parse(stdout));
}

const torchOutcome = z.looseObject({ mode: z.string(), tokensPerSecond: z.number(), peakMiB: z.number(), torch: z.string(), peft: z.string(), transformers: z.string() });
export type TorchOutcome = z.infer<typeof torchOutcome>;

/** @returns null, and says so, where TEST_PYTHON names no Python with torch and peft */
export async function runTorch(mode: string, { rows, length, rank, steps }: Pick<StepTask, "rows" | "length" | "rank" | "steps">, say: (text: string) => void): Promise<TorchOutcome | null> {
  const python = process.env["TEST_PYTHON"] ?? "python3";
  try {
    const { stdout } = await run(python, ["-W", "ignore", fileURLToPath(new URL("../peers/torch_train.py", import.meta.url)), mode, ...[rows, length, rank, steps].map(String)], { maxBuffer: 1 << 24 });
    return torchOutcome.parse(JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
  } catch (error) {
    say(`No PyTorch beside it (${mode}): ${error instanceof Error ? error.message.split("\n")[0] : String(error)}. TEST_PYTHON may name a Python that has torch and peft.`);
    return null;
  }
}
