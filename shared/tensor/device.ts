/**
 * Which device models run on, and why: printed at start, so that nobody has to guess. A device that was asked for and does not start is an error that says what
 * would mend it; only `auto` goes on to the next.
 * A device starts when it has computed a small product and the product is right, and what else models need (self_test.ts). Before that, `auto` looks for what it needs, because the native libraries
 * print their own complaints.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { engine, matMul, ones, tidy } from "@tensorflow/tfjs-core";
import type { ComputeDevice } from "../config/devices.ts";
import { EverloraError, messageOf } from "../errors/errors.ts";
import { EagerBackend } from "./eager.ts";
import { emit } from "./emit.ts";
import { leaf, node } from "./graph.ts";
import { tfjsNodeName } from "./open_backend.ts";
import { openSyncSession, providerLibrary, type Device } from "./runtime.ts";
import { selfTest } from "./self_test.ts";

export interface ChosenDevice extends Device {
  /** For people: what it is. */
  readonly name: string;
  readonly reason: string;
}

type Provider = Device["provider"];

/** How a device is tried. */
export interface Candidate {
  /** What is missing, as far as that can be seen without starting it. */
  missing(): string | null;
  /** What is missing may be there in another way: a device that was asked for by name is started all the same. */
  readonly guess?: true;
  /** Milliseconds of a product of two matrices of that side. @throws Error when it doesn't start, or computes something else */
  product(side: number): number;
  /** What it computes wrongly, once it has started; null when nothing. */
  wrong?(): string | null;
  /** What would mend it. */
  readonly hint: string;
}

const accelerators = ["cuda", "webgpu", "tfjs-node-gpu"] as const;
export type Candidates = Readonly<Record<(typeof accelerators)[number] | "cpu", Candidate>>;

const anyOf = (paths: readonly string[]) => paths.some((path) => existsSync(path));
const tfjsNodePackages = ["@tensorflow/tfjs-node-gpu", "@tensorflow/tfjs-node"];
const load = createRequire(import.meta.url);

/** Ready-made ones; a row for each device. */
const candidates: Candidates = {
  cpu: { missing: () => null, product: (side) => timeProduct("cpu", side), hint: "Install onnxruntime-node again: npm install onnxruntime-node" },
  cuda: {
    missing() {
      const library = providerLibrary("cuda");
      return existsSync(library) ? null : `its library is not there (${library})`;
    },
    product: (side) => timeProduct("cuda", side),
    wrong: () => selfTest({ provider: "cuda", threads: 1 }),
    hint: "CUDA's provider is not in the npm package: npm install onnxruntime-node --onnxruntime-node-install=cuda12 fetches it for Linux on x64. It needs an NVIDIA driver, CUDA 12 and cuDNN 9 (LD_LIBRARY_PATH). COMPUTE_DEVICE=auto goes on without.",
  },
  webgpu: {
    guess: true,
    // Elsewhere the system has an adapter, or says so in a moment; on Linux Vulkan needs one of these.
    missing: () => (process.platform !== "linux" || anyOf(["/dev/dri", "/dev/nvidiactl", "/dev/dxg"]) ? null : "there is no graphics device (/dev/dri, /dev/nvidiactl, /dev/dxg)"),
    product: (side) => timeProduct("webgpu", side),
    wrong: () => selfTest({ provider: "webgpu", threads: 1 }),
    hint: "WebGPU needs a graphics card with a Vulkan driver (on Debian and Ubuntu: libvulkan1, and mesa-vulkan-drivers or NVIDIA's driver; vulkaninfo --summary shows what it sees), DirectX 12 or Metal; in a container, the device must be handed in (--device /dev/dri, --gpus all). COMPUTE_DEVICE=auto goes on without.",
  },
  "tfjs-node-gpu": {
    missing: () => (tfjsNodePackages.some(isInstalled) ? null : `none of ${tfjsNodePackages.join(", ")} is installed`),
    product(side) {
      for (const name of tfjsNodePackages.filter(isInstalled)) load(name);
      const backend = new EagerBackend({ provider: "tfjs-node-gpu", threads: 1 }, tfjsNodeName);
      if (engine().findBackend(tfjsNodeName) === null) throw new Error(`@tensorflow/tfjs-node registered no backend "${tfjsNodeName}"`);
      return backend.use(() => timed(side, () => tidy(() => matMul(ones([side, side]), ones([side, side])).dataSync())));
    },
    hint: "npm install @tensorflow/tfjs-node-gpu@4.22.0 (its installer downloads TensorFlow; it needs Linux, an NVIDIA driver, CUDA 11 and cuDNN 8), or @tensorflow/tfjs-node@4.22.0 without a graphics card. COMPUTE_DEVICE=auto goes on without.",
  },
};

/**
 * @param setting COMPUTE_DEVICE; @param threads COMPUTE_THREADS, 0 = one per core that this process may use
 * @throws EverloraError device_unavailable when the device that was asked for does not start
 */
export function chooseDevice(setting: ComputeDevice, threads: number, tried: Candidates = candidates): ChosenDevice {
  const cores = availableParallelism();
  const used = threads === 0 ? cores : threads;
  const threadsReason = threads === 0 ? `one thread for each of ${cores} cores` : `COMPUTE_THREADS=${threads}`;
  const cpu = (why: string): ChosenDevice => ({ provider: "cpu", threads: used, name: `cpu (${used} ${used === 1 ? "thread" : "threads"})`, reason: `${why}; ${threadsReason}` });
  if (setting === "cpu") return cpu("COMPUTE_DEVICE=cpu");
  if (setting !== "auto") {
    const failed = failureOf(tried[setting], false);
    if (failed !== null) throw new EverloraError("device_unavailable", `COMPUTE_DEVICE=${setting}: the device does not start: ${failed}.`, { param: "COMPUTE_DEVICE", hint: tried[setting].hint });
    return { provider: setting, threads: used, name: setting, reason: `COMPUTE_DEVICE=${setting}` };
  }
  const without: string[] = [];
  for (const provider of accelerators) {
    const failed = failureOf(tried[provider], true) ?? slowerThan(tried.cpu, tried[provider]);
    if (failed === null) return { provider, threads: used, name: provider, reason: ["COMPUTE_DEVICE=auto: it starts, and is faster than the processor", ...without].join("; ") };
    without.push(`no ${provider}: ${failed}`);
  }
  return cpu(`COMPUTE_DEVICE=auto; ${without.join("; ")}`);
}

/** Why it can't be used; null when it can. */
function failureOf(candidate: Candidate, look: boolean): string | null {
  const missing = candidate.missing();
  if (missing !== null && (look || candidate.guess !== true)) return missing;
  try {
    candidate.product(64);
    return candidate.wrong?.() ?? null;
  } catch (error) {
    // Without the place in ONNX Runtime's sources, and the condition there.
    return messageOf(error).replace(/\s+/g, " ").replace(/^.* was false\. /, "").trim();
  }
}

/** Graphics drivers in software start too, and are slower than the processor that they run on. */
function slowerThan(cpu: Candidate, accelerator: Candidate): string | null {
  const side = 1_024;
  const [ours, its] = [cpu, accelerator].map((candidate) => Math.min(candidate.product(side), candidate.product(side)));
  if (ours === undefined || its === undefined || its < ours) return null;
  return `it multiplies matrices of ${side}² in ${its.toFixed(1)} ms, the processor in ${ours.toFixed(1)} ms`;
}

function timeProduct(provider: Provider, side: number): number {
  const a = leaf({ kind: "input", name: "a" }, [side, side], "float32");
  const { model, outputNames } = emit([node("MatMul", [a, a], [side, side], "float32")], [a]);
  const session = openSyncSession(model, { provider, threads: availableParallelism() });
  try {
    const feeds = { input_0: { values: new Float32Array(side * side).fill(1), shape: [side, side], dtype: "float32" as const } };
    session.run(feeds, outputNames);
    return timed(side, () => session.run(feeds, outputNames)[0] as Float32Array);
  } finally {
    session.close();
  }
}

/** Of a product of ones, so that each element is the side. */
function timed(side: number, multiply: () => ArrayLike<number>): number {
  const started = performance.now();
  const made = multiply();
  const took = performance.now() - started;
  if (made.length !== side * side || made[0] !== side || made[made.length - 1] !== side) throw new Error(`it computed ${made[0]} where ${side} was right`);
  return took;
}

function isInstalled(name: string): boolean {
  try {
    load.resolve(name);
    return true;
  } catch {
    return false;
  }
}
