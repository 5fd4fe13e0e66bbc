/** One process that opens a model, compiles a training step, runs it, and says how long that took and how much memory it had at most. Argument: JSON. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { openLanguageModel, toLora } from "../../../shared/engine/language_model.ts";
import { createTrainStep } from "../../../shared/engine/step.ts";
import { adamWDefaults } from "../../../shared/models/adamw.ts";
import { quantizations } from "../../../shared/models/quantization.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { fullBatch, newAdapter } from "../cases/train.ts";

const task = z.object({ model: z.string(), compiled: z.string(), quantization: z.enum(quantizations), recompute: z.boolean(), rows: z.int(), length: z.int(), rank: z.int(), steps: z.int() }).parse(JSON.parse(process.argv[2] ?? ""));
const model = await openLanguageModel(task.model, task.compiled, chooseDevice("cpu", 0), { quantization: task.quantization });
const parameters = newAdapter(model.folder.config, task.rank);
const shape = { rows: task.rows, length: task.length };
const started = performance.now();
const step = await createTrainStep(model.backend, parameters, (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, 2) }), model.folder.config, shape, adamWDefaults, { recompute: task.recompute, cache: { ...model.compiled, key: `${model.compiled.key} bench` } });
const compile = { milliseconds: performance.now() - started, ...step.compiled.milliseconds, nodes: step.compiled.nodeCount };
const batch = fullBatch(task.rows, task.length, model.folder.config.vocabSize);
const seconds: number[] = [];
for (let at = 0; at < task.steps; at++) {
  const begun = performance.now();
  await step.run(batch, 1e-4);
  seconds.push((performance.now() - begun) / 1_000);
}
await step.close();
const status = await readFile("/proc/self/status", "utf8");
const kibibytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? NaN);
process.stdout.write(JSON.stringify({ compile, seconds, peakMiB: kibibytes("VmHWM") / 1_024 }));
