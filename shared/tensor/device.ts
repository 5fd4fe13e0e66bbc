/** Which device models run on, and why: printed at start, so that nobody has to guess. */
import { availableParallelism } from "node:os";
import type { Device } from "./runtime.ts";

export interface ChosenDevice extends Device {
  /** For people: what it is. */
  readonly name: string;
  readonly reason: string;
}

/** @param setting COMPUTE_DEVICE; @param threads COMPUTE_THREADS, 0 = one per core that this process may use */
export function chooseDevice(setting: "auto" | "cpu", threads: number): ChosenDevice {
  const cores = availableParallelism();
  const used = threads === 0 ? cores : threads;
  const why = setting === "cpu" ? "COMPUTE_DEVICE=cpu" : "COMPUTE_DEVICE=auto, and this version runs on onnxruntime's CPU provider";
  return { provider: "cpu", threads: used, name: `cpu (${used} ${used === 1 ? "thread" : "threads"})`, reason: `${why}; ${threads === 0 ? `one thread for each of ${cores} cores` : `COMPUTE_THREADS=${threads}`}` };
}
