/** Trace and compile of a 30-layer training step: the first time, and by another process that finds it on disk. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import { smolLm2, writeRandomModel } from "../../support/random_model.ts";
import type { Bench } from "../bench.ts";
import { runStep } from "../support/step_process.ts";

export const compileBench: Bench = {
  name: "compile",
  about: "trace and compile of the 30-layer training step, the first time and from the disk cache",
  async run({ report }) {
    const folder = await mkdtemp(join(tmpdir(), "everlora-bench-"));
    try {
      const model = await writeRandomModel(join(folder, "model"), smolLm2);
      const task = { model, compiled: join(folder, "compiled"), quantization: "none", recompute: false, rows: 2, length: 512, rank: 16, steps: 0 } as const;
      for (const [name, bar] of [["cold", "≤ 6,000 ms"], ["from the disk cache", "≤ 1,000 ms"]] as const) {
        const { compile } = await runStep(task);
        report({ case: name, sizes: { layers: smolLm2.layers, nodes: compile.nodes, rank: 16, positions: 1_024 }, ours: compile.milliseconds, unit: "ms", versions: { onnxruntime: runtimeVersion }, bar, detail: { trace: compile.trace, open: compile.open } });
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
