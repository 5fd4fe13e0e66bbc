/**
 * One attempt at one run, in the child: snapshot ▸ train and evaluate ▸ gate ▸ store the adapter. What it finds out it reports; the trainer
 * keeps the record, and moves the live pointer.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readSampleFile } from "../../../shared/datasets/samples.ts";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { removeTemporaries } from "../../../shared/files/atomic.ts";
import { generationOf, publishAdapter } from "../../../shared/peft/registry.ts";
import type { Gate } from "../../../shared/runs/run.ts";
import { findRun, runFolder } from "../../../shared/runs/store.ts";
import { gate } from "../gate.ts";
import type { Example, Trainer, TrainerInput, TrainerOutput } from "../trainers/trainer.ts";
import type { Channel } from "./channel.ts";
import { openCheckpoints } from "./checkpoint.ts";
import { explainMemoryError } from "./memory_errors.ts";
import type { RunError, Start } from "./protocol.ts";
import { adapterBytes, explainWriteError, requireSpace } from "./space.ts";
import { takeSnapshot } from "./snapshot.ts";

/** A table from config.json's model_type to its trainer; loaded on demand, because a trainer's imports are heavy. */
export type TrainersTable = Readonly<Record<string, () => Promise<Trainer>>>;

/** Never throws for what a run can meet: that becomes the report `failed`. */
export async function executeRun(start: Start, channel: Channel): Promise<void> {
  try {
    await attempt(start, channel);
  } catch (thrown) {
    if (channel.signal.aborted) return; // the trainer knows why
    const error = describe(explainMemoryError(explainWriteError(thrown, start.paths.runs), start.settings));
    // The next attempt computes blocks twice, if this one may have done without.
    const canSave = error.code === "out_of_memory" && start.settings.gradientCheckpointing === "auto" && !start.ranOutOfMemory;
    await channel.report({ type: "failed", error: { ...error, retryable: error.retryable || canSave } });
  }
}

async function attempt(start: Start, channel: Channel): Promise<void> {
  const { paths, settings } = start;
  const folder = runFolder(paths.runs, start.runId);
  const say = (message: string) => channel.report({ type: "log", level: "info", message });
  // Not the pointer's temporaries: control may be writing one just now. Adapters of this domain are written by this run alone.
  await removeTemporaries(join(paths.loras, start.domain), /^\.[0-9a-f]{12}\./);
  const model = await readModelConfig(paths.baseModel);
  const train = await pickTrainer(start.trainers, model);
  // Three times: the bytes in memory may be written beside an older adapter, and once more by whoever copies it.
  await requireSpace(paths.runs, start.spareBytes + 3 * adapterBytes(model, settings.rank));

  const snapshot = await takeSnapshot(start, folder);
  await channel.report({ type: "dataset", dataset: snapshot.dataset });
  await say(`${snapshot.dataset.rows} rows: ${snapshot.dataset.train} to train on, ${snapshot.dataset.heldOut} to test with${droppedWords(snapshot.dataset.dropped)}.`);
  const output = await train({
    baseModel: paths.baseModel,
    compiledFolder: paths.compiled,
    train: snapshot.train,
    heldOut: snapshot.heldOut,
    general: await readGeneralSet(paths.generalSet),
    settings,
    threads: start.threads,
    device: start.device,
    liveAdapter: await withRows(start.live, paths.runs),
    datasetSha256: snapshot.dataset.sha256,
    checkpoints: openCheckpoints(folder, { ...start.checkpoints, spareBytes: start.spareBytes, log: (level, message) => void channel.report({ type: "log", level, message }).catch(ignoreClosedChannel) }),
    ranOutOfMemory: start.ranOutOfMemory,
    onLog: (message) => void say(message).catch(ignoreClosedChannel),
    onStep: (metric, steps) => {
      requireFinite(metric.loss, metric.gradientNorm, metric.step);
      channel.report({ type: "step", metric, steps }).catch(ignoreClosedChannel);
    },
    signal: channel.signal,
  });
  channel.signal.throwIfAborted();

  const verdict = judge(output, start);
  for (const reason of verdict.reasons) await say(reason);
  const { base, device, onnxruntime, trainedTokenShare, losses, training, forgetting } = output;
  await channel.report({ type: "trained", base, device, onnxruntime, trainedTokenShare, losses, training, produced: generationOf(output), forgetting, gate: verdict });
  if (verdict.decision === "reject") {
    await channel.report({ type: "rejected" });
    return;
  }
  await channel.mayPublish();
  const { generation } = await publishAdapter({
    loras: paths.loras,
    domain: start.domain,
    config: output.config,
    weights: output.weights,
    base,
    runId: start.runId,
    heldOut: { base: verdict.heldOut.base, adapter: verdict.heldOut.adapter, rows: verdict.heldOut.rows, tokens: verdict.heldOut.tokens },
  });
  await channel.report({ type: "stored", generation });
}

/** What does a run again goes nowhere, however good it is. */
function judge(output: TrainerOutput, { generalTolerance, reproduces }: Start): Gate {
  const verdict = gate(output, generalTolerance);
  return reproduces === null ? verdict : { ...verdict, decision: "reject", reasons: [...verdict.reasons, `It does ${reproduces} again, to compare: it does not go live.`] };
}

/** The trainer's end hears of a closed channel by itself, and this process ends on it. */
const ignoreClosedChannel = () => undefined;

/** The live adapter with the rows that it was trained on, as far as the record of its run is there. */
async function withRows(live: Start["live"], runs: string): Promise<TrainerInput["liveAdapter"]> {
  if (live === null) return null;
  const { runId, ...adapter } = live;
  const record = await findRun(runs, runId).catch(() => null);
  return { ...adapter, knownRows: record?.dataset ? new Set(record.dataset.rowIds) : null };
}

/** The bundled conversations about nothing in particular, the same for every domain. The gate can't do without them. */
async function readGeneralSet(path: string): Promise<readonly Example[]> {
  const samples = await readSampleFile(path);
  if (samples.length === 0) throw new EverloraError("dataset_invalid", `The general set ${path} is missing or empty.`, { hint: "Restore the file; without it no adapter can be tested." });
  return samples;
}

async function readModelConfig(folder: string): Promise<Record<string, unknown>> {
  const path = join(folder, "config.json");
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw new EverloraError("invalid_model_folder", `BASE_MODEL: ${path} cannot be read: ${messageOf(error)}`, { param: "BASE_MODEL", cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new EverloraError("invalid_model_folder", `BASE_MODEL: ${path} is not a JSON object.`, { param: "BASE_MODEL" });
  return value as Record<string, unknown>;
}

async function pickTrainer(module: string, model: Readonly<Record<string, unknown>>): Promise<Trainer> {
  const { trainers } = (await import(module)) as { trainers: TrainersTable };
  const kind = model["model_type"];
  const load = typeof kind === "string" && Object.hasOwn(trainers, kind) ? trainers[kind] : undefined;
  if (load === undefined) {
    throw new EverloraError("invalid_model_folder", `BASE_MODEL: there is no trainer for model_type ${JSON.stringify(kind)}.`, { param: "BASE_MODEL", hint: `Choose a model of one of these types: ${Object.keys(trainers).join(", ")}.` });
  }
  return load();
}

function requireFinite(loss: number, gradientNorm: number, step: number): void {
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return;
  throw new EverloraError("training_failed", `The training diverged at step ${step}: loss ${loss}, gradient norm ${gradientNorm}.`, { hint: "Lower LEARNING_RATE (or config.learning_rate of the trigger) and try again." });
}

function droppedWords(dropped: Readonly<Record<string, number>>): string {
  const parts = Object.entries(dropped).map(([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`);
  return parts.length === 0 ? "" : `; left out: ${parts.join(", ")}`;
}

/** What a person will read in run.json. Only what may pass (a system's refusal, a retryable error) is worth another attempt. */
function describe(thrown: unknown): RunError {
  const stack = thrown instanceof Error && thrown.stack !== undefined ? { stack: thrown.stack } : {};
  if (thrown instanceof EverloraError) return { code: thrown.code, message: thrown.message, hint: thrown.hint, retryable: thrown.retryable, ...(thrown.code === "internal_error" ? stack : {}) };
  const system = thrown instanceof Error && "errno" in thrown;
  return { code: "training_failed", message: messageOf(thrown), hint: "This was not foreseen; the trainer's log has the details.", retryable: system, ...stack };
}
