/**
 * Whether frozen weights in fewer bits learn as float32's do: one training of the bundled base on the bundled conversations of a domain, three times, with
 * everything the same but QUANTIZATION. `--out FILE` draws the losses (docs/training.md shows them).
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSamples } from "../../../shared/datasets/samples.ts";
import { pathsOf } from "../../../shared/config/paths.ts";
import { evaluate, meanLoss } from "../../../shared/engine/evaluate.ts";
import { createFinetuner, type FinetuneSettings } from "../../../shared/engine/finetune.ts";
import { openLanguageModel, type LanguageModel } from "../../../shared/engine/language_model.ts";
import { machineMemory, packsWeights } from "../../../shared/engine/memory.ts";
import { fit, type Example } from "../../../shared/engine/pack.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { quantizations, type Quantization } from "../../../shared/models/quantization.ts";
import { allTargets, modulesOf } from "../../../shared/peft/adapter.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import type { Bench } from "../bench.ts";
import { lineChart } from "../support/line_chart.ts";

/** The demo's: a tiny base needs large steps. */
const settings = { rank: 16, alpha: 32, rankStabilised: false, dropout: 0, learningRate: 6e-3, schedule: "cosine", warmUp: 0.05, weightDecay: 0, clipNorm: 1, sequenceLength: 512, batchSize: 2, accumulation: 1, evaluation: "end", patience: 0, recompute: false, seed: 17 } as const satisfies Partial<FinetuneSettings>;
/** One row in so many is never trained on. */
const heldOutEvery = 7;

interface Curve {
  readonly losses: readonly number[];
  readonly heldOut: { readonly before: number; readonly after: number };
}

export const curves: Bench = {
  name: "curves",
  about: "losses of a training with int8 and int4 frozen weights beside float32's, on the bundled base and conversations; --out draws them",
  async run({ report, say, option }) {
    const [domain, epochs, out] = [option("domain", "support"), Number(option("epochs", "3")), option("out", "")];
    const folder = await mkdtemp(join(tmpdir(), "everlora-curves-"));
    try {
      const found: { quantization: Quantization; curve: Curve }[] = [];
      for (const quantization of quantizations) {
        const curve = await train(quantization, domain, epochs, folder);
        found.push({ quantization, curve });
        say(`${quantization}: ${curve.losses[0]?.toFixed(3)} → ${curve.losses.at(-1)?.toFixed(3)} in ${curve.losses.length} steps; held out ${curve.heldOut.before.toFixed(3)} → ${curve.heldOut.after.toFixed(3)}`);
      }
      const plain = found.find(({ quantization }) => quantization === "none")?.curve;
      for (const { quantization, curve } of found) {
        const apart = curve.losses.map((loss, at) => Math.abs(loss - (plain?.losses[at] ?? NaN)));
        report({
          case: quantization === "none" ? "float32" : quantization,
          sizes: { domain, epochs, steps: curve.losses.length, rank: settings.rank, positions: settings.batchSize * settings.sequenceLength },
          ours: curve.heldOut.after,
          unit: "nats a token, held out, after training",
          ratio: curve.heldOut.after / (plain?.heldOut.after ?? NaN),
          versions: { onnxruntime: runtimeVersion },
          note: "ratio: to float32's",
          detail: { heldOutBefore: curve.heldOut.before, furthestApart: Math.max(...apart), meanApart: apart.reduce((sum, distance) => sum + distance, 0) / apart.length, losses: curve.losses },
        });
      }
      const names: Readonly<Record<Quantization, string>> = { none: "float32", int8: "int8", int4: "int4" };
      const lines = found.map(({ quantization, curve }) => ({ name: names[quantization], values: curve.losses }));
      if (out !== "") await writeFile(out, lineChart(`everlora-tiny on ${domain}: the same training, frozen weights in 32, 8 and 4 bits`, { x: "step", y: "loss, nats a token" }, lines));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function train(quantization: Quantization, domain: string, epochs: number, folder: string): Promise<Curve> {
  const paths = pathsOf({ DATA_DIR: folder, BASE_MODEL: "everlora-tiny" });
  const model = await openLanguageModel(paths.baseModel, paths.compiled, chooseDevice("cpu", 0), { quantization });
  const { config } = model.folder;
  const examples = fit(await examplesOf(model, paths.samples, domain), settings.sequenceLength).fitted;
  const side = (heldOut: boolean) => examples.filter((_, at) => (at % heldOutEvery === 0) === heldOut);
  const shape = { rows: settings.batchSize, length: settings.sequenceLength };
  const tuner = await createFinetuner(model, modulesOf(config, allTargets(config)), { ...settings, epochs, packWeights: packsWeights(config, { ...shape, dropout: 0 }, machineMemory(), false, quantization) }, side(false));
  const heldOut = async (of: "base" | "adapter") => meanLoss(await evaluate(side(true), shape, (batch) => tuner.loss(batch, of))).loss;
  const losses: number[] = [];
  const before = await heldOut("base");
  await tuner.train({ onStep: ({ loss }) => losses.push(loss) }, new AbortController().signal);
  return { losses, heldOut: { before, after: await heldOut("adapter") } };
}

async function examplesOf({ tokenizer }: LanguageModel, samples: string, domain: string): Promise<Example[]> {
  const rows = (await loadSamples(samples)).filter((sample) => sample.domain === domain && sample.kind === "plain");
  return rows.map(({ messages }) => {
    const { ids, spoken } = tokenizer.conversation(messages.map((message) => ({ role: message.role, content: textOf(message) })));
    return { ids, trained: spoken };
  });
}
