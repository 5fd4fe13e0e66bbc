/**
 * The rows of a run, frozen: what is in the domain's rows.jsonl when the run begins becomes a snapshot (shared/datasets/snapshots.ts) and is copied into the run's folder, so that later rows
 * change nothing and the run can be repeated. An attempt after the first takes the same rows again.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { rowSchema, type Row } from "../../../shared/datasets/row.ts";
import { readRows, rowsPath } from "../../../shared/datasets/rows.ts";
import { isEnough, leastHeldOut } from "../../../shared/datasets/stats.ts";
import { snapshotDataFile, writeSnapshot } from "../../../shared/datasets/snapshots.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { writeFileAtomic } from "../../../shared/files/atomic.ts";
import { datasetFile, type RunDataset } from "../../../shared/runs/run.ts";
import type { Start } from "./protocol.ts";

const millisecondsOfADay = 86_400_000;

export interface Snapshot {
  readonly dataset: RunDataset;
  readonly train: readonly Row[];
  readonly heldOut: readonly Row[];
}

/** @throws EverloraError too_few_examples with the counts, when there is not enough to train on or to test with */
export async function takeSnapshot(start: Start, folder: string): Promise<Snapshot> {
  const again = start.dataset === null ? null : await reuse(start, start.dataset, folder);
  if (again !== null) return again;
  if (start.reproduces !== null) throw new EverloraError("conflict", `The rows of ${start.reproduces} are not all there any more, so it can't be done again.`, { hint: "Rows that were erased don't come back. Start a new run: POST /fine-tune/trigger." });
  const { paths, domain, window, minExamples, caps } = start;
  const days = Math.round((window.to - window.from) / millisecondsOfADay);
  // Under training_data for people, and for the next run with the same rows; the run's own copy is what this run goes by.
  const taken = await writeSnapshot({ trainingData: paths.trainingData, domain, window: { ...window, days }, settings: { TRAINING_DATA_DAYS: days, MIN_EXAMPLES_PER_DOMAIN: minExamples, ...(caps === undefined ? {} : { CALLER_SHARE: caps.caller, TEMPLATE_SHARE: caps.template, SOURCE_SHARE: caps.source }) }, ...(caps === undefined ? {} : { caps }), accept: (counts) => requireEnough(start, counts) });
  if (taken === null) throw new EverloraError("too_few_examples", `Domain ${domain} has no rows in the window.`, { param: "domain" });
  const lines = await readFile(join(taken.folder, snapshotDataFile), "utf8");
  const snapshot = split(rowsIn(lines), { sha256: sha256(lines), dropped: taken.facts.leftOut, snapshot: taken.facts.snapshot, from: window.from, to: window.to });
  await writeFileAtomic(join(folder, datasetFile), lines);
  return snapshot;
}

/** null: the copy is damaged, or rows of it were erased since; those must not come back by this way. */
async function reuse({ paths, domain }: Start, dataset: RunDataset, folder: string): Promise<Snapshot | null> {
  const text = await readFile(join(folder, datasetFile), "utf8").catch(() => "");
  if (sha256(text) !== dataset.sha256) return null;
  const there = new Set<string>();
  for await (const { id } of readRows(rowsPath(paths.trainingData, domain))) there.add(id);
  if (dataset.rowIds.some((id) => !there.has(id))) return null;
  return split(rowsIn(text), dataset);
}

const rowsIn = (lines: string) => lines.split("\n").flatMap((line) => (line === "" ? [] : [rowSchema.parse(JSON.parse(line))]));

function split(rows: readonly Row[], facts: Pick<RunDataset, "sha256" | "dropped" | "from" | "to" | "snapshot">): Snapshot {
  const train = rows.filter((row) => row.split === "train");
  const heldOut = rows.filter((row) => row.split === "held-out");
  const { sha256: hash, dropped, from, to, snapshot } = facts;
  return { train, heldOut, dataset: { rows: rows.length, train: train.length, heldOut: heldOut.length, sha256: hash, rowIds: rows.map((row) => row.id), dropped, from, to, trainedTokenShare: null, ...(snapshot === undefined ? {} : { snapshot }) } };
}

function requireEnough({ domain, minExamples }: Start, dataset: Pick<RunDataset, "rows" | "train" | "heldOut">): void {
  const details = { domain, rows: dataset.rows, train: dataset.train, heldOut: dataset.heldOut, needed: minExamples };
  if (dataset.rows < minExamples) {
    throw new EverloraError("too_few_examples", `Domain ${domain} has ${dataset.rows} rows in the window and needs ${minExamples}.`, { param: "domain", details });
  }
  if (!isEnough(dataset, minExamples)) {
    throw new EverloraError("too_few_examples", `Domain ${domain} has ${dataset.train} rows to train on and ${dataset.heldOut} to test with; a run needs at least 1 and ${leastHeldOut}.`, { param: "domain", hint: "Collect more conversations; force doesn't help, because an adapter that can't be tested can't go live.", details });
  }
}
