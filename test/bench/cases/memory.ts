/** Peak memory of training, each case in a process of its own: ours in every mode beside PyTorch and PEFT. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import { smolLm2, writeRandomModel } from "../../support/random_model.ts";
import type { Bench } from "../bench.ts";
import { runStep, runTorch } from "../support/step_process.ts";

const variants = [
  { name: "float32", quantization: "none", recompute: false },
  { name: "float32, gradient checkpointing", quantization: "none", recompute: true },
  { name: "int8", quantization: "int8", recompute: false },
  { name: "int8, gradient checkpointing", quantization: "int8", recompute: true },
  { name: "int4, gradient checkpointing", quantization: "int4", recompute: true },
] as const;

export const memory: Bench = {
  name: "memory",
  about: "peak memory of training SmolLM2-135M's shape, mapped weights included; PyTorch and PEFT beside it where TEST_PYTHON names their Python",
  async run({ report, say }) {
    const folder = await mkdtemp(join(tmpdir(), "everlora-bench-"));
    try {
      const model = await writeRandomModel(join(folder, "model"), smolLm2);
      const size = { rows: 2, length: 512, rank: 16 };
      const torch = await runTorch("float32", { ...size, steps: 2 }, say);
      for (const { name, ...variant } of variants) {
        const { peakMiB, seconds } = await runStep({ model, compiled: join(folder, "compiled"), ...size, ...variant, steps: 3 });
        report({
          case: name,
          sizes: size,
          ours: peakMiB,
          unit: "MiB at most",
          versions: { onnxruntime: runtimeVersion },
          peer: torch === null ? null : { name: "PyTorch and PEFT, float32", version: `${torch.torch}, ${torch.peft}`, figure: torch.peakMiB },
          ...(torch === null ? {} : { ratio: peakMiB / torch.peakMiB }),
          bar: "≤ 0.5 × PyTorch's",
          detail: { seconds },
        });
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
