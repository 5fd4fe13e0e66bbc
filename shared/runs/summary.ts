/** training_data/fine_tuning_summary_<time>.json: how a run ended, in one small file beside the data that it was trained on. */
import { join } from "node:path";
import { fileTime } from "../datasets/report.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import type { Run } from "./run.ts";

export interface RunSummary {
  readonly version: 1;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly run: string;
  readonly domain: string;
  readonly state: Run["state"];
  readonly reason: string;
  readonly attempts: number;
  readonly seconds: number | null;
  readonly settings: Run["settings"];
  /** Without the list of row ids, which the run's own record has. */
  readonly dataset: Omit<NonNullable<Run["dataset"]>, "rowIds"> | null;
  readonly base: Run["base"];
  readonly losses: Run["losses"];
  readonly training: Run["training"];
  readonly forgetting: Run["forgetting"];
  readonly gate: Run["gate"];
  readonly generation: string | null;
  readonly error: Run["error"];
}

function summaryOf(run: Run, now: number): RunSummary {
  const { rowIds: _ids, ...dataset } = run.dataset ?? { rowIds: [] };
  return {
    version: 1,
    createdAt: new Date(now).toISOString(),
    run: run.id,
    domain: run.domain,
    state: run.state,
    reason: run.reason,
    attempts: run.attempt,
    seconds: run.startedAt === null || run.finishedAt === null ? null : (run.finishedAt - run.startedAt) / 1_000,
    settings: run.settings,
    dataset: run.dataset === null ? null : (dataset as RunSummary["dataset"]),
    base: run.base,
    losses: run.losses,
    training: run.training,
    forgetting: run.forgetting,
    gate: run.gate,
    generation: run.generation,
    error: run.error,
  };
}

/** @returns the file's path */
export async function writeRunSummary(trainingData: string, run: Run, now = Date.now()): Promise<string> {
  const path = join(trainingData, `fine_tuning_summary_${fileTime(now)}_${run.id}.json`);
  await writeFileAtomic(path, `${JSON.stringify(summaryOf(run, now), null, 1)}\n`);
  return path;
}
