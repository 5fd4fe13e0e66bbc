/** Cancelling a run, wherever it is: waiting in the queue (ended here and now), at work (its trainer is told), or left behind by both. */
import { EverloraError } from "../../shared/errors/errors.ts";
import { requestCancel } from "../../shared/runs/cancel.ts";
import { finalStates, type Run } from "../../shared/runs/run.ts";
import { findRun, replaceRun, writeRun } from "../../shared/runs/store.ts";
import type { ControlContext } from "./context.ts";
import { requireRun } from "./run_view.ts";

/**
 * @returns `cancelled` when it has ended, `cancelling` when its trainer will end it within seconds
 * @throws EverloraError run_not_found; conflict when it had ended before
 */
export async function cancelRun(context: ControlContext, id: string): Promise<"cancelled" | "cancelling"> {
  const run = await requireRun(context, id);
  if (finalStates.includes(run.state)) throw new EverloraError("conflict", `Run ${id} has ended already: ${run.state}.`, { hint: "There is nothing left to cancel." });
  const job = await context.queue.getJob(id);
  if (job !== undefined) {
    try {
      await job.remove(); // refused, in one step, when a trainer holds the job
    } catch (error) {
      if ((await job.getState()) !== "active") throw error;
      await requestCancel(context.redis, id);
      return "cancelling";
    }
  }
  const ended: Run = { ...run, state: "cancelled", finishedAt: Date.now() };
  if ((await findRun(context.paths.runs, id)) === null) await writeRun(context.paths.runs, ended);
  else await replaceRun(context.paths.runs, ended);
  return "cancelled";
}
