/** How many threads an engine computes with, where nobody has said. Not responsible for the device (shared/tensor/device.ts). */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ChosenDevice } from "../../../shared/tensor/device.ts";

/** Models whose files are no larger are small. */
const smallBytes = 64 * 2 ** 20;

/**
 * Small models get one thread: their operators take microseconds, and a second thread that somebody else has pushed off its core keeps the first one waiting.
 * (A token of everlora-tiny takes 8.6 ms on two threads of a busy machine and 7.6 on one, a swap of its adapters 31 and 24.)
 * @param threads COMPUTE_THREADS: only 0 leaves the choice open
 */
export function threadsFor(device: ChosenDevice, threads: number, model: string): ChosenDevice {
  if (threads !== 0 || device.provider !== "cpu" || device.threads === 1 || weightBytes(model) > smallBytes) return device;
  return { ...device, threads: 1, name: "cpu (1 thread)", reason: `${device.reason}; one is enough for a model this small` };
}

/** Of the folder's weight files. What is wrong with the folder is said by whoever opens it. */
function weightBytes(folder: string): number {
  try {
    return readdirSync(folder).filter((name) => name.endsWith(".safetensors")).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  } catch {
    return 0;
  }
}
