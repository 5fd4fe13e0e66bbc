/**
 * One job of the queue = one attempt at a run: begin ▸ fork the child and follow it ▸ end, and tell the queue. The rules of ending are here: what
 * publishes, what rejects, what is tried again, what is handed back. How the child is followed: attempt.ts.
 */
import { UnrecoverableError, WaitingError, type Job } from "bullmq";
import { EverloraError, messageOf } from "../../shared/errors/errors.ts";
import { fineTuneJobSchema, type FineTuneJob } from "../../shared/events/queues.ts";
import { cancelRequested, forgetCancel } from "../../shared/runs/cancel.ts";
import type { Run } from "../../shared/runs/run.ts";
import { followChild, type Outcome } from "./attempt.ts";
import { beginAttempt, mostStarts } from "./begin.ts";
import type { TrainerContext } from "./context.ts";
import { countEnd, endRun, summarise } from "./end.ts";
import { LiveChanged, LostLock, goLive } from "./publish.ts";
import type { Recorder } from "./recorder.ts";
import { explainWriteError } from "./run/space.ts";
import type { Stop } from "./stop.ts";

/** What the queue keeps of a run that ended well. */
export interface JobResult {
  readonly state: "published" | "rejected";
  readonly generation: string | null;
}

/**
 * @returns for a run that was published or rejected
 * @throws UnrecoverableError for one that failed for good or was cancelled, WaitingError when the job went back into the queue, any other error when the
 *   queue shall try again
 */
export async function runJob(context: TrainerContext, job: Job<FineTuneJob>, token: string, stop: Stop): Promise<JobResult> {
  const parsed = fineTuneJobSchema.safeParse(job.data);
  if (!parsed.success) throw new UnrecoverableError(`job ${job.id} is not a fine-tune job`);
  const beginning = await beginAttempt(context, parsed.data, job.attemptsStarted);
  if (beginning.kind === "over") return resultOf(beginning.run);
  const { recorder } = beginning;
  const { id, domain, attempt } = recorder.run;
  context.log.info({ runId: id, domain, attempt, begins: beginning.kind }, "run begins");
  recorder.log("info", `Attempt ${attempt} begins.`);
  try {
    const outcome = await outcomeOf(context, beginning, job, token, stop);
    return await conclude(context, recorder, job, token, outcome);
  } catch (thrown) {
    if (thrown instanceof UnrecoverableError || thrown instanceof WaitingError || thrown instanceof TryAgain) throw thrown;
    if (thrown instanceof LostLock || (thrown instanceof EverloraError && thrown.code === "conflict")) {
      // Whoever has the run now keeps its record; from here there is nothing to say but to the queue, which will not listen either.
      context.log.warn({ runId: id, domain, attempt, reason: thrown.message }, "run was taken over");
      throw thrown;
    }
    // The verdict no longer holds: the next attempt must not take it over with the stored adapter.
    if (thrown instanceof LiveChanged) await recorder.change({ gate: null });
    return fail(context, recorder, job, failureOf(explainWriteError(thrown, context.paths.runs)));
  }
}

/** The queue shall hand the job out again. */
class TryAgain extends Error {
  override readonly name = "TryAgain";
}

async function outcomeOf(context: TrainerContext, beginning: Exclude<Awaited<ReturnType<typeof beginAttempt>>, { kind: "over" }>, job: Job<FineTuneJob>, token: string, stop: Stop): Promise<Outcome> {
  const { recorder } = beginning;
  if (await cancelRequested(context.redis, recorder.run.id)) return { kind: "cancelled" };
  if (beginning.kind === "hopeless") {
    const error = { code: "training_failed", message: `The run was started ${beginning.starts} times and never came to an end.`, hint: "Something ends the trainer or its child each time: look for the out-of-memory killer, then lower TRAINING_SEQUENCE_LENGTH or TRAINING_BATCH_SIZE." };
    return { kind: "failed", error, retryable: false };
  }
  if (beginning.kind === "stored") {
    recorder.log("info", `Adapter ${beginning.generation} was stored by an earlier attempt and passed the gate.`);
    return { kind: "stored", generation: beginning.generation };
  }
  if (beginning.domain === null) return { kind: "failed", error: errorOf(new EverloraError("unknown_domain", `The domain ${recorder.run.domain} is no longer in the table of domains.`)), retryable: false };
  return followChild(context, recorder, beginning.domain, job, token, stop, beginning.ranOutOfMemory);
}

async function conclude(context: TrainerContext, recorder: Recorder, job: Job<FineTuneJob>, token: string, outcome: Outcome): Promise<JobResult> {
  switch (outcome.kind) {
    case "stored":
      await goLive(context, recorder, job, token, outcome.generation);
      countEnd(context, recorder.run);
      await summarise(context, recorder.run);
      return { state: "published", generation: outcome.generation };
    case "rejected":
      await endRun(context, recorder, "rejected");
      return { state: "rejected", generation: null };
    case "cancelled":
      await endRun(context, recorder, "cancelled");
      await forgetCancel(context.redis, recorder.run.id);
      throw new UnrecoverableError("cancelled");
    case "shutdown":
      recorder.log("info", "The trainer is shutting down; the run goes back into the queue.");
      await recorder.flush();
      await recorder.change({ state: "queued", handedBack: recorder.run.handedBack + 1 });
      await job.moveToWait(token);
      throw new WaitingError();
    case "failed":
      return fail(context, recorder, job, outcome);
  }
}

async function fail(context: TrainerContext, recorder: Recorder, job: Job<FineTuneJob>, { error, retryable }: Extract<Outcome, { kind: "failed" }>): Promise<never> {
  const starts = recorder.run.attempt - recorder.run.handedBack;
  const again = retryable && starts < mostStarts && job.attemptsMade + 1 < (job.opts.attempts ?? 1);
  recorder.log("error", `${error.message} ${error.hint}`);
  context.log.error({ runId: recorder.run.id, domain: recorder.run.domain, code: error.code, again }, error.message);
  if (!again) {
    await endRun(context, recorder, "failed", error);
    throw new UnrecoverableError(error.message);
  }
  recorder.log("info", "It will be tried again.");
  await recorder.flush();
  await recorder.change({ state: "queued", error });
  throw new TryAgain(error.message);
}

function resultOf(run: Run): JobResult {
  if (run.state === "published" || run.state === "rejected") return { state: run.state, generation: run.generation };
  throw new UnrecoverableError(run.error === null ? run.state : run.error.message);
}

/** What went wrong on the trainer's own side. */
function failureOf(thrown: unknown): Extract<Outcome, { kind: "failed" }> {
  if (thrown instanceof LiveChanged) return { kind: "failed", error: errorOf(new EverloraError("conflict", thrown.message)), retryable: true };
  if (thrown instanceof EverloraError) return { kind: "failed", error: errorOf(thrown), retryable: thrown.retryable };
  return { kind: "failed", error: { code: "training_failed", message: messageOf(thrown), hint: "This was not foreseen; the trainer's log has the details." }, retryable: true };
}

function errorOf(error: EverloraError): NonNullable<Run["error"]> {
  return { code: error.code, message: error.message, hint: error.hint };
}
