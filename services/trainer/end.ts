/** The last entry of a run's record, with the counts that go with it. */
import type { Run } from "../../shared/runs/run.ts";
import { writeRunSummary } from "../../shared/runs/summary.ts";
import type { TrainerContext } from "./context.ts";
import type { Recorder } from "./recorder.ts";

type Ended = "rejected" | "failed" | "cancelled";

const words: Readonly<Record<Ended, string>> = {
  rejected: "The adapter is not better; it does not go live.",
  failed: "The run failed.",
  cancelled: "The run was cancelled.",
};

/** Writes the final state of a run that did not publish (publish.ts writes that one, because it must come with the pointer). */
export async function endRun(context: TrainerContext, recorder: Recorder, state: Ended, error: Run["error"] = null): Promise<void> {
  recorder.log(state === "failed" ? "error" : "info", words[state]);
  // A full disk may refuse the log, but the record must tell the end.
  await recorder.flush().catch((reason: unknown) => context.log.error({ runId: recorder.run.id, reason: String(reason) }, "the run's log could not be written"));
  await recorder.change({ state, error, finishedAt: Date.now() });
  countEnd(context, recorder.run);
  await summarise(context, recorder.run);
}

/** fine_tuning_summary_<time>.json beside the data. A report that can't be written must not change how a run ended. */
export async function summarise({ paths, log }: Pick<TrainerContext, "paths" | "log">, run: Run): Promise<void> {
  await writeRunSummary(paths.trainingData, run).catch((reason: unknown) => log.warn({ runId: run.id, reason: String(reason) }, "the summary of a run could not be written"));
}

export function countEnd({ metrics, log }: Pick<TrainerContext, "metrics" | "log">, run: Run): void {
  const { domain, state: outcome } = run;
  metrics.trainingRuns.inc({ outcome });
  if (run.startedAt !== null && run.finishedAt !== null) metrics.trainingDuration.observe({ outcome }, (run.finishedAt - run.startedAt) / 1000);
  metrics.trainingProgress.remove({ domain });
  log.info({ runId: run.id, domain, state: outcome, attempt: run.attempt, generation: run.generation }, "run ended");
}
