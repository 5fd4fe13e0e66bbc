/** Doing a run again from its record: a job whose run takes the same rows and settings, and compares its adapter with the recorded one. */
import { EverloraError } from "../../shared/errors/errors.ts";
import { enqueueFineTune } from "../../shared/events/queues.ts";
import type { ControlContext } from "./context.ts";
import { requireRun } from "./run_view.ts";

/**
 * @returns the id of the new run
 * @throws EverloraError run_not_found; conflict when the run never got as far as an adapter; job_exists when the domain has a job; fine_tuning_disabled
 */
export async function reproduceRun(context: ControlContext, id: string): Promise<string> {
  if (!context.settings.ENABLE_FINE_TUNING) throw new EverloraError("fine_tuning_disabled", "Fine-tuning is switched off: ENABLE_FINE_TUNING=false.", { param: "ENABLE_FINE_TUNING" });
  const run = await requireRun(context, id);
  if (run.dataset === null || (run.state !== "published" && run.state !== "rejected")) {
    throw new EverloraError("conflict", `Run ${id} is ${run.state} and made no adapter that another could be compared with.`, { hint: "Choose a run that was published or rejected: GET /runs?state=published." });
  }
  const { added, runId } = await enqueueFineTune(context.queue, { domain: run.domain, reason: "manual", force: true, reproduces: id });
  if (!added) throw new EverloraError("job_exists", `${run.domain} has a job already: ${runId}.`, { hint: `Wait for it (GET /runs/${runId}), or cancel it (POST /runs/${runId}/cancel).`, details: { runId } });
  return runId;
}
