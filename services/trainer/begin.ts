/**
 * How an attempt at a run begins: what is on the disk decides, not what the queue believes. The same job may come again after a crash, a shutdown or a
 * lost lock; it goes on with the same run.
 */
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { EverloraError } from "../../shared/errors/errors.ts";
import type { FineTuneJob } from "../../shared/events/queues.ts";
import { requireDomain, type Domain } from "../../shared/domains/domains.ts";
import { makeFolder } from "../../shared/files/folder.ts";
import { queuedRun, runSettings } from "../../shared/runs/new_run.ts";
import { datasetFile, finalStates, type Run } from "../../shared/runs/run.ts";
import { findRun, runFolder, setRecordAside } from "../../shared/runs/store.ts";
import type { TrainerContext } from "./context.ts";
import { environmentFingerprint } from "./fingerprint.ts";
import { storedAdapter } from "./publish.ts";
import { Recorder } from "./recorder.ts";

/** Starts that may end without an end (crash, kill) before the run is given up. Shutdowns don't count. */
export const mostStarts = 3;

export type Beginning =
  /** It ended in an earlier attempt, but the queue was not told. */
  | { readonly kind: "over"; readonly run: Run }
  | { readonly kind: "attempt"; readonly recorder: Recorder; readonly domain: Domain | null; /** What the attempt before this one failed for. */ readonly ranOutOfMemory: boolean }
  /** The adapter is stored and passed the gate; only going live is missing. */
  | { readonly kind: "stored"; readonly recorder: Recorder; readonly generation: string }
  | { readonly kind: "hopeless"; readonly recorder: Recorder; readonly starts: number };

/** @param starts how often the queue has handed the job out, this time included: used when the run's own record is lost */
export async function beginAttempt(context: TrainerContext, job: FineTuneJob, starts: number): Promise<Beginning> {
  const { runs } = context.paths;
  const earlier = await earlierRun(context, job.runId);
  if (earlier !== null && finalStates.includes(earlier.state)) return { kind: "over", run: earlier };
  const domain = knownDomain(context, job.domain);
  const before = earlier ?? (await newRun(context, job, domain));
  const attempt = earlier === null ? starts : earlier.attempt + 1;
  const stored = before.gate?.decision === "publish" ? await storedAdapter(context, job.domain, job.runId) : null;
  const recorder = await Recorder.begin(runs, {
    ...before,
    ...(stored === null ? { progress: null, losses: null, training: null, produced: null, reproduction: null, forgetting: null, gate: null, liveBefore: before.reproduces === null ? null : before.liveBefore, base: null, environment: await environmentFingerprint() } : {}),
    state: "running",
    attempt,
    startedAt: Date.now(),
    finishedAt: null,
    error: null,
  });
  context.metrics.trainingStarts.inc();
  if (stored !== null) return { kind: "stored", recorder, generation: stored };
  if (attempt - before.handedBack > mostStarts) return { kind: "hopeless", recorder, starts: attempt - 1 - before.handedBack };
  return { kind: "attempt", recorder, domain, ranOutOfMemory: before.error?.code === "out_of_memory" };
}

/** As asked for; or, when a run is to be done again, with its settings and a copy of its rows. */
async function newRun(context: TrainerContext, job: FineTuneJob, domain: Domain | null): Promise<Run> {
  const run = queuedRun(job, runSettings(context.settings, domain?.overrides ?? {}, job.overrides));
  const original = job.reproduces === undefined ? null : await findRun(context.paths.runs, job.reproduces).catch(() => null);
  if (original === null) return run;
  const folder = runFolder(context.paths.runs, run.id);
  await makeFolder(folder);
  // Missing: the snapshot finds out and says so.
  await copyFile(join(runFolder(context.paths.runs, original.id), datasetFile), join(folder, datasetFile)).catch(() => undefined);
  return { ...run, settings: original.settings, dataset: original.dataset, liveBefore: original.liveBefore };
}

async function earlierRun(context: TrainerContext, runId: string): Promise<Run | null> {
  try {
    return await findRun(context.paths.runs, runId);
  } catch (error) {
    if (!(error instanceof EverloraError) || error.code !== "run_corrupted") throw error;
    context.log.error({ runId, reason: error.message }, "the run's record is damaged; it is set aside and the run begins anew");
    await setRecordAside(context.paths.runs, runId);
    return null;
  }
}

function knownDomain(context: TrainerContext, name: string): Domain | null {
  try {
    return requireDomain(name, context.domains);
  } catch {
    return null; // it was in the table when the job was made; the run will say so
  }
}
