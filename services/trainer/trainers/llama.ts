/** The trainer of the Llama family: rows → tokens → adapter, with the losses that the gate needs. Runs in the run child. */
import { basename } from "node:path";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { evaluate, meanLoss, type ExampleLoss } from "../../../shared/engine/evaluate.ts";
import { createFinetuner, type Finetuner } from "../../../shared/engine/finetune.ts";
import { adapterParameters, openLanguageModel, toLora, type LanguageModel } from "../../../shared/engine/language_model.ts";
import { fit, type Batch, type Example as TokenExample } from "../../../shared/engine/pack.ts";
import { createLossFunction } from "../../../shared/engine/step.ts";
import { allTargets, encodeAdapterWeights, modulesOf, readAdapter } from "../../../shared/peft/adapter.ts";
import { createPeftConfig } from "../../../shared/peft/config.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import type { Example, Trainer, TrainerInput } from "./trainer.ts";

export const trainLlama: Trainer = async (input) => {
  const device = chooseDevice("auto", input.threads);
  const model = await openLanguageModel(input.baseModel, input.compiledFolder, device);
  const { config, name, sha256 } = model.folder;
  const settings = { ...input.settings, sequenceLength: Math.min(input.settings.sequenceLength, config.contextLength) };
  const shape = { rows: settings.batchSize, length: settings.sequenceLength };
  const tokenise = (rows: readonly Example[]) => rows.map((row) => toTokens(model, row));
  const { fitted: train, truncated, empty } = fit(tokenise(input.train), shape.length);
  const [tokens, trained] = count(train);
  if (trained === 0) throw new EverloraError("dataset_invalid", `None of the ${input.train.length} training rows has an assistant's token left after truncation to ${shape.length} positions.`, { param: "TRAINING_SEQUENCE_LENGTH", hint: "Raise TRAINING_SEQUENCE_LENGTH, or check the chat template." });
  input.onLog(`${train.length} rows, ${tokens} tokens, ${trained} of them trained; ${truncated} rows truncated to ${shape.length} positions, ${empty} left out because nothing trained remained.`);

  const targets = allTargets(config);
  const finetuner = await createFinetuner(model, modulesOf(config, targets), settings);
  input.onLog(`Running on ${device.name}: ${device.reason}. Traced and compiled in ${Math.round(finetuner.compileMilliseconds)} ms.`);

  const heldOutTokens = tokenise(input.heldOut);
  const generalTokens = tokenise(input.general);
  const measure = (examples: readonly TokenExample[], run: (batch: Batch) => Promise<Float32Array>) => evaluate(examples, shape, run);
  // B is still zero: the adapter is the base, to the last bit.
  const base = { heldOut: await measure(heldOutTokens, finetuner.loss), general: await measure(generalTokens, finetuner.loss) };
  input.onLog(`Base before training: held-out loss ${meanLoss(base.heldOut).loss.toFixed(4)}, general set ${meanLoss(base.general).loss.toFixed(4)}.`);
  const rival = input.liveAdapter?.baseSha256 === sha256 ? input.liveAdapter.folder : null;
  if (input.liveAdapter !== null && rival === null) input.onLog("The live adapter was trained for another base model; the gateway does not load it, so it is not compared with.");
  const live = rival === null ? null : await measureLive(model, rival, shape, heldOutTokens, measure);

  const losses = await runTraining(finetuner, train, input);
  const adapter = { heldOut: await measure(heldOutTokens, finetuner.loss), general: await measure(generalTokens, finetuner.loss) };
  input.onLog(`Adapter after training: held-out loss ${meanLoss(adapter.heldOut).loss.toFixed(4)}, general set ${meanLoss(adapter.general).loss.toFixed(4)}.`);

  const generalBase = meanLoss(base.general);
  return {
    base: { name, sha256 },
    device: device.name,
    onnxruntime: runtimeVersion,
    trainedTokenShare: trained / tokens,
    losses,
    heldOut: compareHeldOut(base.heldOut, adapter.heldOut, live),
    general: { base: generalBase.loss, adapter: meanLoss(adapter.general).loss, rows: generalBase.rows, tokens: generalBase.tokens },
    config: createPeftConfig({ rank: settings.rank, alpha: settings.alpha, targetModules: targets, baseModel: basename(input.baseModel) }),
    weights: encodeAdapterWeights(adapterModules(finetuner)),
  };
};

async function runTraining(finetuner: Finetuner, examples: readonly TokenExample[], input: TrainerInput): Promise<{ first: number; last: number }> {
  let [first, last] = [NaN, NaN];
  await finetuner.train(
    examples,
    ({ steps, ...metric }) => {
      if (!Number.isFinite(metric.loss)) throw new EverloraError("training_failed", `The loss became ${metric.loss} at step ${metric.step} of ${steps}.`, { param: "LEARNING_RATE", hint: "Lower LEARNING_RATE." });
      if (metric.step === 1) first = metric.loss;
      last = metric.loss;
      input.onStep({ ...metric, at: Date.now() }, steps);
    },
    input.signal,
  );
  return { first, last };
}

async function measureLive(model: LanguageModel, folder: string, shape: { rows: number; length: number }, heldOut: readonly TokenExample[], measure: (examples: readonly TokenExample[], run: (batch: Batch) => Promise<Float32Array>) => Promise<(ExampleLoss | null)[]>): Promise<(ExampleLoss | null)[]> {
  const parameters = adapterParameters(await readAdapter(folder, model.folder.config));
  const loss = await createLossFunction(model.backend, parameters, (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, 1) }), model.folder.config, shape);
  try {
    return await measure(heldOut, (batch) => loss.run(batch));
  } finally {
    await loss.compiled.close();
  }
}

/** Rows of which truncation left nothing are in none of the lists. */
function compareHeldOut(base: readonly (ExampleLoss | null)[], adapter: readonly (ExampleLoss | null)[], live: readonly (ExampleLoss | null)[] | null) {
  const measured = base.flatMap((entry, at) => {
    const [other, third] = [adapter[at], live?.[at]];
    return entry === null || other === null || other === undefined ? [] : [{ base: entry, adapter: other, live: third ?? null }];
  });
  const total = meanLoss(base);
  return {
    base: total.loss,
    live: live === null ? null : meanLoss(live).loss,
    adapter: meanLoss(adapter).loss,
    rows: total.rows,
    tokens: total.tokens,
    perRow: {
      base: measured.map((row) => row.base.loss),
      adapter: measured.map((row) => row.adapter.loss),
      live: live === null ? null : measured.map((row) => row.live?.loss ?? NaN),
      tokens: measured.map((row) => row.base.tokens),
    },
  };
}

function toTokens(model: LanguageModel, row: Example): TokenExample {
  const { ids, spoken } = model.tokenizer.conversation(row.messages.map((message) => ({ role: message.role, content: textOf(message) })));
  return { ids, trained: spoken };
}

function count(examples: readonly TokenExample[]): [tokens: number, trained: number] {
  return [examples.reduce((sum, { ids }) => sum + ids.length - 1, 0), examples.reduce((sum, { trained }) => sum + trained.slice(1).filter(Boolean).length, 0)];
}

function adapterModules({ parameters }: Finetuner): Map<string, { A: Float32Array; B: Float32Array; rank: number; inputs: number; outputs: number }> {
  const modules = new Map<string, { A: Float32Array; B: Float32Array; rank: number; inputs: number; outputs: number }>();
  for (let at = 0; at + 1 < parameters.length; at += 2) {
    const [a, b] = [parameters[at], parameters[at + 1]];
    if (a === undefined || b === undefined) break;
    modules.set(a.name.replace(/\.A$/, ""), { A: a.values, B: b.values, rank: a.shape[0] ?? 0, inputs: a.shape[1] ?? 0, outputs: b.shape[0] ?? 0 });
  }
  return modules;
}
