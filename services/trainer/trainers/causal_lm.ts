/** The trainer of the decoder-only families: rows → tokens → adapter, with the losses that the gate needs. Runs in the run child. */
import { basename } from "node:path";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { evaluate, meanLoss, type ExampleLoss } from "../../../shared/engine/evaluate.ts";
import { createFinetuner, type Finetuned, type Finetuner, type FinetuneSettings } from "../../../shared/engine/finetune.ts";
import { openLanguageModel, type LanguageModel } from "../../../shared/engine/language_model.ts";
import { freeMemory, machineMemory, packsWeights, planMemory } from "../../../shared/engine/memory.ts";
import { fit, type Batch, type Example as TokenExample } from "../../../shared/engine/pack.ts";
import { epochsFor } from "../../../shared/engine/schedule.ts";
import { encodeAdapterWeights, modulesOf, type LoraModule } from "../../../shared/peft/adapter.ts";
import { createPeftConfig, loraScale } from "../../../shared/peft/config.ts";
import { targetsOf } from "../../../shared/peft/target_groups.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import { selectRows } from "../run/replay.ts";
import { LiveAdapter } from "./live_adapter.ts";
import type { Example, Trainer, TrainerInput } from "./trainer.ts";

interface Shape {
  readonly rows: number;
  readonly length: number;
}
type Losses = readonly (ExampleLoss | null)[];

export const trainCausalLm: Trainer = async (input) => {
  // The run's process has a lower priority than those that answer: what it spins away nobody else wanted.
  const device = { ...chooseDevice(input.device, input.threads), spin: true };
  const model = await openLanguageModel(input.baseModel, input.compiledFolder, device, { quantization: input.settings.quantization, use: "training" });
  const { config, name, sha256 } = model.folder;
  const { start, replay, gradientCheckpointing, ...chosen } = input.settings;
  const targets = targetsOf(chosen.targets, config);
  const modules = modulesOf(config, targets);
  const live = await LiveAdapter.open(input.liveAdapter, model, input.onLog);
  const initial = start === "live" ? (live?.startingPoint(modules, chosen.rank, loraScale(chosen.rank, chosen.alpha, chosen.rankStabilised)) ?? null) : null;
  if (start === "live" && initial === null) input.onLog("There is no live adapter to go on from: the run starts with a new one.");
  const selected = initial === null ? { rows: input.train, fresh: input.train.length, replayed: 0 } : selectRows(input.train, input.liveAdapter?.knownRows ?? null, replay, chosen.seed);
  if (initial !== null) input.onLog(`It goes on from the live adapter ${initial.generation}, with ${selected.fresh} new rows and ${selected.replayed} repeated ones.`);

  const sequenceLength = Math.min(chosen.sequenceLength, config.contextLength);
  const shape = { rows: chosen.batchSize, length: sequenceLength };
  const memory = planMemory(gradientCheckpointing, config, { ...shape, dropout: chosen.dropout }, freeMemory(), input.ranOutOfMemory, chosen.quantization);
  const settings: FinetuneSettings = { ...chosen, sequenceLength, epochs: epochsFor(selected.rows.length, chosen.epochs), recompute: memory.recompute, packWeights: packsWeights(config, { ...shape, dropout: chosen.dropout }, machineMemory(), input.ranOutOfMemory, chosen.quantization) };
  const tokenise = (rows: readonly Example[]) => rows.map((row) => toTokens(model, row));
  const { train, trainedTokenShare } = prepare(tokenise(selected.rows), selected.rows.length, shape, input);

  const finetuner = await createFinetuner(model, modules, settings, train, initial?.modules);
  input.onLog(`Running on ${device.name}: ${device.reason}. Traced and compiled in ${Math.round(finetuner.compileMilliseconds)} ms. Gradient checkpointing is ${memory.recompute ? "on" : "off"}: ${memory.reason}.`);

  const heldOutTokens = tokenise(input.heldOut);
  const generalTokens = tokenise(input.general);
  const measure = (examples: readonly TokenExample[], run: (batch: Batch) => Promise<Float32Array>) => evaluate(examples, shape, run);
  const measureBoth = async (run: (batch: Batch) => Promise<Float32Array>) => ({ heldOut: await measure(heldOutTokens, run), general: await measure(generalTokens, run) });
  // With B at zero the adapter is the base, to the last bit.
  const base = await measureBoth((batch) => finetuner.loss(batch, "base"));
  input.onLog(`Base before training: held-out loss ${meanLoss(base.heldOut).loss.toFixed(4)}, general set ${meanLoss(base.general).loss.toFixed(4)}.`);
  const rival = live === null ? null : await live.measure(shape, measureBoth);

  // A measurement of the weights as they are serves twice: for early stopping, and at the end for the gate.
  let latest: { readonly at: number; readonly heldOut: Losses } | null = null;
  let steps = 0;
  const trained = await runTraining(finetuner, input, { sha256, settings, initial: initial?.generation ?? "none" }, {
    onStep: (step) => {
      steps = step;
    },
    heldOut: async () => {
      latest = { at: steps, heldOut: await measure(heldOutTokens, (batch) => finetuner.loss(batch)) };
      return meanLoss(latest.heldOut).loss;
    },
  });
  const known = latest as { readonly at: number; readonly heldOut: Losses } | null;
  const adapter = {
    heldOut: known?.at === trained.bestStep ? known.heldOut : await measure(heldOutTokens, (batch) => finetuner.loss(batch)),
    general: await measure(generalTokens, (batch) => finetuner.loss(batch)),
  };
  input.onLog(`Adapter of step ${trained.bestStep}${trained.stoppedEarly ? `, after an early stop at step ${trained.steps}` : ""}: held-out loss ${meanLoss(adapter.heldOut).loss.toFixed(4)}, general set ${meanLoss(adapter.general).loss.toFixed(4)}.`);

  const general = { base: meanLoss(base.general), adapter: meanLoss(adapter.general), live: rival === null ? null : meanLoss(rival.general) };
  return {
    base: { name, sha256 },
    device: device.name,
    onnxruntime: runtimeVersion,
    trainedTokenShare,
    losses: trained.losses,
    training: {
      epochs: settings.epochs,
      steps: trained.steps,
      bestStep: trained.bestStep,
      stoppedEarly: trained.stoppedEarly,
      evaluations: [...trained.evaluations],
      packing: trained.packing,
      recomputed: memory.recompute,
      resumedAt: trained.resumedAt,
      continued: initial === null ? null : { generation: initial.generation, fresh: selected.fresh, replayed: selected.replayed },
    },
    forgetting: { base: general.adapter.loss - general.base.loss, live: general.live === null ? null : general.adapter.loss - general.live.loss },
    heldOut: compareHeldOut(base.heldOut, adapter.heldOut, rival?.heldOut ?? null),
    general: { base: general.base.loss, adapter: general.adapter.loss, rows: general.base.rows, tokens: general.base.tokens },
    config: createPeftConfig({ rank: settings.rank, alpha: settings.alpha, rankStabilised: settings.rankStabilised, dropout: settings.dropout, targetModules: targets, baseModel: basename(input.baseModel) }),
    weights: encodeAdapterWeights(adapterModules(finetuner, modules, settings.rank)),
  };
};

/** @throws EverloraError dataset_invalid when truncation left nothing to learn */
function prepare(examples: readonly TokenExample[], rows: number, shape: Shape, input: TrainerInput): { train: readonly TokenExample[]; trainedTokenShare: number } {
  const { fitted: train, truncated, empty } = fit(examples, shape.length);
  const tokens = train.reduce((sum, { ids }) => sum + ids.length - 1, 0);
  const trained = train.reduce((sum, example) => sum + example.trained.slice(1).filter(Boolean).length, 0);
  if (trained === 0) throw new EverloraError("dataset_invalid", `None of the ${rows} training rows has an assistant's token left after truncation to ${shape.length} positions.`, { param: "TRAINING_SEQUENCE_LENGTH", hint: "Raise TRAINING_SEQUENCE_LENGTH, or check the chat template." });
  input.onLog(`${train.length} rows, ${tokens} tokens, ${trained} of them trained; ${truncated} rows truncated to ${shape.length} positions, ${empty} left out because nothing trained remained.`);
  return { train, trainedTokenShare: trained / tokens };
}

interface TrainingHooks {
  readonly onStep: (step: number) => void;
  readonly heldOut: () => Promise<number>;
}

/** Training from the checkpoint, if there is one that fits; with what the record wants to know of how it went. */
async function runTraining(finetuner: Finetuner, input: TrainerInput, of: { sha256: string; settings: FinetuneSettings; initial: string }, hooks: TrainingHooks): Promise<Finetuned & { resumedAt: number | null }> {
  // Recomputing gives the same bits, and packed weights nearly the same, so an attempt that has less memory may go on from one that had more.
  const { recompute: _recompute, packWeights: _packWeights, ...settings } = of.settings;
  const identity = { "base model": of.sha256, "data set": input.datasetSha256, settings: JSON.stringify(settings), "starting point": of.initial, runtime: runtimeVersion };
  const from = await input.checkpoints.load(identity);
  if (from !== null) input.onLog(`It goes on from the checkpoint of step ${from.optimiser.steps}.`);
  const result = await finetuner.train(
    {
      onStep: ({ steps, ...metric }) => {
        if (!Number.isFinite(metric.loss)) throw new EverloraError("training_failed", `The loss became ${metric.loss} at step ${metric.step} of ${steps}.`, { param: "LEARNING_RATE", hint: "Lower LEARNING_RATE." });
        hooks.onStep(metric.step);
        input.onStep({ ...metric, at: Date.now() }, steps);
      },
      evaluate: hooks.heldOut,
      onEvaluation: ({ step, epoch, loss }, best) => input.onLog(`Step ${step}, epoch ${epoch.toFixed(2)}: held-out loss ${loss.toFixed(4)}${best ? ", the best so far" : ""}.`),
      save: (state) => input.checkpoints.offer(identity, state),
      ...(from === null ? {} : { from }),
    },
    input.signal,
  );
  return { ...result, resumedAt: from?.optimiser.steps ?? null };
}

/** Rows of which truncation left nothing are in none of the lists. */
function compareHeldOut(base: Losses, adapter: Losses, live: Losses | null) {
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

function adapterModules({ parameters }: Finetuner, modules: readonly LoraModule[], rank: number): Map<string, { A: Float32Array; B: Float32Array; rank: number; inputs: number; outputs: number }> {
  return new Map(
    modules.map(({ name, inputs, outputs }, at) => {
      const [a, b] = [parameters[2 * at], parameters[2 * at + 1]];
      if (a?.name !== `${name}.A` || b?.name !== `${name}.B`) throw new RangeError(`the adapter has no ${name}`);
      return [name, { A: a.values, B: b.values, rank, inputs, outputs }];
    }),
  );
}
