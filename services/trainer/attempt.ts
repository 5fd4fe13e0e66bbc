/**
 * Follows the run child of one attempt: hands it its orders, writes down what it reports, passes progress on to the queue, stops it when it must stop,
 * and says how it came out. Decides nothing about the run's end (job.ts).
 */
import { join } from "node:path";
import type { Job } from "bullmq";
import { capsOf } from "../../shared/datasets/curate.ts";
import { windowOf } from "../../shared/datasets/window.ts";
import type { Domain } from "../../shared/domains/domains.ts";
import { messageOf } from "../../shared/errors/errors.ts";
import { isOutOfMemory } from "../../shared/engine/memory.ts";
import type { FineTuneJob } from "../../shared/events/queues.ts";
import { readLive, verifyAdapter } from "../../shared/peft/registry.ts";
import { cancelRequested } from "../../shared/runs/cancel.ts";
import type { Run } from "../../shared/runs/run.ts";
import { findRun } from "../../shared/runs/store.ts";
import type { TrainerContext } from "./context.ts";
import { LostLock, requireLock } from "./publish.ts";
import type { Recorder } from "./recorder.ts";
import { forkRun, type Ending } from "./run/fork.ts";
import { memoryKills, outOfMemory } from "./run/memory_errors.ts";
import type { Report, Start } from "./run/protocol.ts";
import { isDiskFull } from "./run/space.ts";
import type { Stop } from "./stop.ts";

export type Outcome =
  | { readonly kind: "stored"; readonly generation: string }
  | { readonly kind: "rejected" }
  | { readonly kind: "cancelled" }
  | { readonly kind: "shutdown" }
  | { readonly kind: "failed"; readonly error: NonNullable<Run["error"]>; readonly retryable: boolean };

const progressEveryMs = 1_000;

/** @throws LostLock when the job was taken over; EverloraError conflict when the record was */
export async function followChild(context: TrainerContext, recorder: Recorder, domain: Domain, job: Job<FineTuneJob>, token: string, stop: Stop, ranOutOfMemory: boolean): Promise<Outcome> {
  // What is done again is compared with what was live then.
  const liveBefore = recorder.run.reproduces === null ? ((await readLive(context.paths.loras, domain.name))?.generation ?? null) : recorder.run.liveBefore;
  await recorder.change({ liveBefore });
  const live = liveBefore === null ? null : await adapterToBeat(context, recorder, domain.name, liveBefore);
  const progress = new Progress(context, recorder, job);
  const killsBefore = await memoryKills();
  const child = forkRun(startOrder(context, recorder.run, domain, live, ranOutOfMemory), {
    settings: context.settings,
    graceMs: context.options.graceMs,
    onReport: async (report) => {
      if (report.type === "may-publish") {
        await progress.settle();
        await requireLock(context, job, token);
        if (stop.reason === undefined) child.send({ type: "publish" });
      } else await note(context, recorder, progress, report);
    },
  });
  context.log.info({ runId: recorder.run.id, child: child.pid }, "run child forked");
  const unhear = stop.onRequest(child.stop);
  const cancelPoll = setInterval(() => {
    cancelRequested(context.redis, recorder.run.id).then(
      (requested) => {
        if (requested) stop.request("cancelled");
      },
      (error: unknown) => context.log.debug({ reason: messageOf(error) }, "cannot look for a cancel request"),
    );
  }, context.options.cancelPollMs);
  try {
    const ending = await child.ended;
    await progress.settle();
    const memoryRanOut = ending.kind === "died" && (isOutOfMemory(ending.stderr) || (ending.signal === "SIGKILL" && ((await memoryKills()) ?? 0) > (killsBefore ?? Infinity)));
    return outcomeOf(context, recorder, ending, stop, memoryRanOut);
  } finally {
    clearInterval(cancelPoll);
    unhear();
  }
}

function outcomeOf(context: TrainerContext, recorder: Recorder, ending: Ending, stop: Stop, memoryRanOut: boolean): Outcome {
  if (stop.reason === "lost-lock") throw new LostLock(`${recorder.run.id}: the job's lock was lost`);
  if (stop.reason === "cancelled") return { kind: "cancelled" };
  // At a shutdown, too, what has come to its end is brought home: it takes no time any more.
  if (ending.kind === "stored" || ending.kind === "rejected") return ending;
  if (stop.reason === "shutdown") return { kind: "shutdown" };
  const { progress } = recorder.run;
  if (ending.kind === "failed") {
    const { code, message, hint, retryable, stack } = ending.error;
    if (stack !== undefined) context.log.error({ runId: recorder.run.id, stack }, "the run child met what was not foreseen");
    return { kind: "failed", error: { code, message, hint }, retryable };
  }
  context.log.error({ runId: recorder.run.id, how: ending.how, stderr: ending.stderr }, "the run child died");
  const where = progress === null ? "before its first step" : `after step ${progress.step} of ${progress.steps}`;
  if (memoryRanOut) {
    const { code, message, hint } = outOfMemory(`The run's process ${ending.how} ${where} for want of memory`, recorder.run.settings);
    return { kind: "failed", error: { code, message, hint }, retryable: true };
  }
  return {
    kind: "failed",
    error: { code: "training_failed", message: `The run's process ${ending.how} ${where}.`, hint: "If nobody killed it, it was out of memory: lower TRAINING_SEQUENCE_LENGTH or TRAINING_BATCH_SIZE. The trainer's log has what it said last." },
    retryable: true,
  };
}

async function note(context: TrainerContext, recorder: Recorder, progress: Progress, report: Report): Promise<void> {
  const { metrics } = context;
  const { domain, environment } = recorder.run;
  switch (report.type) {
    case "log":
      recorder.log(report.level, report.message);
      return;
    case "dataset":
      await recorder.change({ dataset: report.dataset });
      return;
    case "step": {
      const { metric, steps } = report;
      recorder.metric(metric);
      metrics.trainingSteps.inc();
      metrics.trainingTokens.inc(metric.tokens);
      metrics.trainingStepDuration.observe(metric.seconds);
      metrics.trainingLoss.set({ domain, split: "train" }, metric.loss);
      metrics.trainingProgress.set({ domain }, steps === 0 ? 0 : metric.step / steps);
      await progress.step({ step: metric.step, steps, loss: metric.loss });
      return;
    }
    case "trained": {
      const { base, device, onnxruntime, trainedTokenShare, losses, training, produced, forgetting, gate } = report;
      const dataset = recorder.run.dataset === null ? null : { ...recorder.run.dataset, trainedTokenShare };
      await progress.settle();
      await recorder.change({ base, losses, training, produced, reproduction: await compareWith(context, recorder, produced), forgetting, gate, dataset, environment: environment === null ? null : { ...environment, device, onnxruntime } });
      metrics.trainingLoss.set({ domain, split: "held-out" }, gate.heldOut.adapter);
      for (const [model, loss] of Object.entries({ base: gate.heldOut.base, adapter: gate.heldOut.adapter, live: gate.heldOut.live })) if (loss !== null) metrics.heldOutLoss.set({ domain, model }, loss);
      return;
    }
    case "may-publish":
    case "rejected":
    case "stored":
    case "failed":
      return; // not notes: an answer is wanted, or they are the child's last words
  }
}

/** Progress goes to the record and to the queue at most once a second, and once at the end: the queue's event stream is short. */
class Progress {
  readonly #context: TrainerContext;
  readonly #recorder: Recorder;
  readonly #job: Job<FineTuneJob>;
  #latest: NonNullable<Run["progress"]> | undefined;
  #toldAt = 0;

  constructor(context: TrainerContext, recorder: Recorder, job: Job<FineTuneJob>) {
    this.#context = context;
    this.#recorder = recorder;
    this.#job = job;
  }

  async step(progress: NonNullable<Run["progress"]>): Promise<void> {
    this.#latest = progress;
    if (Date.now() - this.#toldAt >= progressEveryMs) await this.settle();
  }

  async settle(): Promise<void> {
    const progress = this.#latest;
    if (progress === undefined) return;
    this.#latest = undefined;
    this.#toldAt = Date.now();
    await this.#recorder.change({ progress }).catch((error: unknown) => {
      // Somebody may make room before the run has to write its adapter.
      if (!isDiskFull(error)) throw error;
      this.#context.log.warn({ runId: this.#recorder.run.id }, "the disk is full: progress was not recorded");
    });
    // Not awaited: with Redis away the run goes on.
    this.#job.updateProgress({ ...progress }).catch((error: unknown) => this.#context.log.debug({ reason: messageOf(error) }, "progress was not told"));
  }
}

function startOrder(context: TrainerContext, run: Run, domain: Domain, live: Start["live"], ranOutOfMemory: boolean): Start {
  const { settings, paths, options } = context;
  return {
    type: "start",
    runId: run.id,
    domain: run.domain,
    settings: run.settings,
    minExamples: run.force ? 1 : (domain.minExamples ?? settings.MIN_EXAMPLES_PER_DOMAIN),
    window: run.dataset ?? windowOf(settings.TRAINING_DATA_DAYS, Date.now()),
    dataset: run.dataset,
    caps: capsOf(settings),
    generalTolerance: settings.GENERAL_TOLERANCE,
    threads: settings.COMPUTE_THREADS,
    device: settings.COMPUTE_DEVICE,
    paths: { runs: paths.runs, loras: paths.loras, trainingData: paths.trainingData, baseModel: paths.baseModel, generalSet: paths.generalSet, compiled: paths.compiled },
    live,
    checkpoints: { seconds: settings.CHECKPOINT_SECONDS, steps: settings.CHECKPOINT_STEPS },
    ranOutOfMemory,
    reproduces: run.reproduces,
    trainers: options.trainers,
    spareBytes: options.spareBytes,
  };
}

/** null when the run does none again. */
async function compareWith(context: TrainerContext, recorder: Recorder, produced: string): Promise<Run["reproduction"]> {
  const { reproduces } = recorder.run;
  if (reproduces === null) return null;
  const original = await findRun(context.paths.runs, reproduces).catch(() => null);
  const expected = original?.produced ?? original?.generation ?? null;
  const same = expected === produced;
  recorder.log(same ? "info" : "warn", same ? `The adapter is that of ${reproduces}, bit for bit: ${produced}.` : `The adapter is ${produced}, that of ${reproduces} was ${expected ?? "not recorded"}.`);
  return { expected, same };
}

/** The live adapter, unless its files are damaged: then the gateway answers with the base, and so the base is what must be beaten. */
async function adapterToBeat(context: TrainerContext, recorder: Recorder, domain: string, generation: string): Promise<Start["live"]> {
  const folder = join(context.paths.loras, domain, generation);
  try {
    const { base, runId } = await verifyAdapter(folder);
    return { generation, folder, baseSha256: base.sha256, runId };
  } catch (error) {
    recorder.log("warn", `The live adapter ${generation} is not compared with: ${messageOf(error)}`);
    return null;
  }
}
