/** Memory that was not there, as an error that names what to lower. */
import { readFile } from "node:fs/promises";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { isOutOfMemory } from "../../../shared/engine/memory.ts";
import type { RunSettings } from "../../../shared/runs/run.ts";

/** A failed allocation as the error that says so, anything else as it came. */
export function explainMemoryError(thrown: unknown, settings: RunSettings): unknown {
  if (thrown instanceof EverloraError || !isOutOfMemory(messageOf(thrown))) return thrown;
  return outOfMemory("The training ran out of memory", settings, thrown);
}

/** @param what happened, as the beginning of a sentence */
export function outOfMemory(what: string, { batchSize, sequenceLength, gradientCheckpointing, rank }: RunSettings, cause?: unknown): EverloraError {
  const checkpointing = gradientCheckpointing === "off" ? "set GRADIENT_CHECKPOINTING=on, or " : "";
  const present = `TRAINING_BATCH_SIZE (now ${batchSize}; TRAINING_ACCUMULATION makes up for it), TRAINING_SEQUENCE_LENGTH (now ${sequenceLength}) or LORA_RANK (now ${rank})`;
  return new EverloraError("out_of_memory", `${what}: ${batchSize} sequences of ${sequenceLength} positions were computed together.`, { param: "TRAINING_BATCH_SIZE", hint: `${checkpointing ? "S" + checkpointing.slice(1) + "lower" : "Lower"} ${present}.`, ...(cause === undefined ? {} : { cause }) });
}

/** How often this machine's kernel has killed a process for want of memory; null where it doesn't tell. */
export async function memoryKills(): Promise<number | null> {
  const text = await readFile("/proc/vmstat", "utf8").catch(() => "");
  const count = /^oom_kill (\d+)$/m.exec(text)?.[1];
  return count === undefined ? null : Number(count);
}
