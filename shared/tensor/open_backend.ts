/** The backend that a device asks for. */
import { registerOnnxBackend, type OnnxBackend } from "./backend.ts";
import { EagerBackend } from "./eager.ts";
import type { Device } from "./runtime.ts";

/** Both take functions (`compile`) and weights (`mapWeights`). */
export type Backend = OnnxBackend | EagerBackend;

/** tfjs-node registers itself under this name when it is imported (device.ts does so). */
export const tfjsNodeName = "tensorflow";

export function openBackend(device: Device): Backend {
  return device.provider === "tfjs-node-gpu" ? new EagerBackend(device, tfjsNodeName) : registerOnnxBackend(device);
}
