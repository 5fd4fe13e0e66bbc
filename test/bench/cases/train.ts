/** Training steps of a real shape with random weights, as a share of what a plain product reaches on the same machine in the same run. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLanguageModel, toLora, type LanguageModel } from "../../../shared/engine/language_model.ts";
import type { Batch } from "../../../shared/engine/pack.ts";
import { createTrainStep, type Parameter } from "../../../shared/engine/step.ts";
import { adamWDefaults } from "../../../shared/models/adamw.ts";
import type { ModelConfig } from "../../../shared/models/config.ts";
import { projections } from "../../../shared/models/layout.ts";
import { createRandom } from "../../../shared/models/random.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import { smolLm2, writeRandomModel } from "../../support/random_model.ts";
import type { Bench } from "../bench.ts";
import { runTorch, type TorchOutcome } from "../support/step_process.ts";
import { matmulRate } from "./matmul.ts";

/** An adapter of rank r on every projection; B is zero, as training begins. */
export function newAdapter(config: ModelConfig, rank: number): Parameter[] {
  const random = createRandom(2);
  return Array.from({ length: config.layers }, (_, layer) => layer).flatMap((layer) =>
    projections(config).flatMap(([name, [outputs, inputs]]) => [
      { name: `model.layers.${layer}.${name}.A`, shape: [rank, inputs], values: new Float32Array(rank * inputs).map(() => (random.next() - 0.5) / Math.sqrt(inputs)) },
      { name: `model.layers.${layer}.${name}.B`, shape: [outputs, rank], values: new Float32Array(outputs * rank) },
    ]),
  );
}

/** Rows of one sequence each, all of whose tokens carry loss: the most work that the shape can be. */
export function fullBatch(rows: number, length: number, vocabulary: number): Batch {
  const random = createRandom(3);
  const count = rows * length;
  const tokens = Int32Array.from({ length: count }, () => Math.floor(random.next() * vocabulary));
  return { rows, length, tokens, targets: tokens.map((_, at) => tokens[(at + 1) % count] ?? 0), weights: new Float32Array(count).fill(1), positions: tokens.map((_, at) => at % length), segments: new Int32Array(count).fill(1), usedTokens: count, trainedTokens: count };
}

export function parameterCount(c: ModelConfig): number {
  const block = projections(c).reduce((sum, [, [outputs, inputs]]) => sum + outputs * inputs, 2 * c.hiddenSize);
  return c.layers * block + c.vocabSize * c.hiddenSize * (c.tiedHead ? 1 : 2) + c.hiddenSize;
}

/**
 * Operations of one step with frozen weights: 2 × parameters forwards and 2 backwards a token (no gradient of a weight), the adapter's own three
 * products, and attention's two, forwards and twice backwards, over all T² pairs (Chowdhery et al. 2022, appendix B).
 */
export function operationsPerStep(c: ModelConfig, rows: number, length: number, adapterParameters: number): { frozen: number; attention: number; adapter: number } {
  const tokens = rows * length;
  return { frozen: 4 * parameterCount(c) * tokens, attention: 12 * c.layers * c.heads * c.headSize * length * tokens, adapter: 6 * adapterParameters * tokens };
}

export const train: Bench = {
  name: "train",
  about: "tokens/s of a LoRA step of SmolLM2-135M's shape, as a share of a plain 2048³ product; int8, int4 and recomputation against float32",
  async run({ report, say, option }) {
    const folder = await mkdtemp(join(tmpdir(), "everlora-bench-"));
    const [rows, length, rank, steps] = [Number(option("rows", "2")), Number(option("length", "512")), Number(option("rank", "16")), Number(option("steps", "4"))];
    const only = option("only", "").split(",").filter(Boolean);
    const [pack, spin] = [option("pack", "true") === "true", option("spin", "true") === "true"];
    try {
      say("Writing a model of random weights …");
      const path = await writeRandomModel(join(folder, "model"), smolLm2);
      const sizes = { rows, length, rank, parameters: 0 };
      const torch = option("torch", "true") === "true" ? await bestTorch({ rows, length, rank, steps: 3 }, say) : null;
      let float32 = 0;
      for (const { name, quantisation, recompute } of variants.filter((variant) => only.length === 0 || only.includes(variant.name))) {
        const model = await openLanguageModel(path, join(folder, "compiled"), { ...chooseDevice("cpu", 0), spin }, { quantization: quantisation });
        const { config } = model.folder;
        const { secondsPerStep, plain, losses, compileMilliseconds } = await measure(model, { rows, length, rank, steps, recompute, packWeights: pack && quantisation !== "int4" });
        const operations = operationsPerStep(config, rows, length, 0);
        const rate = (operations.frozen + operations.attention) / secondsPerStep;
        if (name === "float32") float32 = secondsPerStep;
        report({
          case: name,
          sizes: { ...sizes, parameters: parameterCount(config) },
          ours: (rows * length) / secondsPerStep,
          unit: "tokens/s",
          versions: { onnxruntime: runtimeVersion },
          peer: { name: "a plain 2048³ product in onnxruntime, GFLOP/s", version: runtimeVersion, figure: plain / 1e9 },
          ratio: rate / plain,
          bar: quantisation === "none" && !recompute ? "≥ 0.85 of the plain product's rate" : quantisation === "int8" ? "≥ 1.4 × float32's tokens/s" : "none",
          detail: { secondsPerStep, pack, spin, gigaOperationsPerSecond: rate / 1e9, timesFloat32: float32 === 0 ? null : float32 / secondsPerStep, timesTorch: torch === null ? null : Object.fromEntries(torch.map((each) => [`${each.mode} ${each.torch}`, rows * length / secondsPerStep / each.tokensPerSecond])), compileMilliseconds, losses },
        });
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** PyTorch's modes that a processor may be fastest in. */
async function bestTorch(size: { rows: number; length: number; rank: number; steps: number }, say: (text: string) => void): Promise<TorchOutcome[] | null> {
  const outcomes: TorchOutcome[] = [];
  for (const mode of ["float32", "bfloat16"]) {
    const outcome = await runTorch(mode, size, say);
    if (outcome === null) return outcomes.length === 0 ? null : outcomes;
    outcomes.push(outcome);
  }
  return outcomes;
}

const variants = [
  { name: "float32", quantisation: "none", recompute: false },
  { name: "float32 recomputed", quantisation: "none", recompute: true },
  { name: "int8", quantisation: "int8", recompute: false },
  { name: "int4", quantisation: "int4", recompute: false },
] as const;

/** The plain product is measured between the steps, so that both see the same machine. */
async function measure(model: LanguageModel, { rows, length, rank, steps, recompute, packWeights }: { rows: number; length: number; rank: number; steps: number; recompute: boolean; packWeights: boolean }) {
  const parameters = newAdapter(model.folder.config, rank);
  const step = await createTrainStep(model.backend, parameters, (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, 2) }), model.folder.config, { rows, length }, adamWDefaults, { recompute, packWeights });
  const batch = fullBatch(rows, length, model.folder.config.vocabSize);
  const losses: number[] = [];
  let [best, plain] = [Infinity, 0];
  for (let at = 0; at <= steps; at++) {
    const started = performance.now();
    const { loss } = await step.run(batch, 1e-4);
    // The first step allocates.
    if (at > 0) best = Math.min(best, (performance.now() - started) / 1_000);
    losses.push(loss);
    plain = Math.max(plain, await matmulRate(2_048, 3));
  }
  await step.close();
  return { secondsPerStep: best, plain, losses, compileMilliseconds: step.compileMilliseconds };
}
