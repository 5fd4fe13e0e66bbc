/**
 * The rows of a run, frozen: what is in the domain's rows.jsonl when the run begins is copied into the run's folder, with its hash, so that later rows
 * change nothing and the run can be repeated. An attempt after the first takes the same rows again.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { rowSchema, type Row } from "../../../shared/datasets/row.ts";
import { readRows, rowsPath } from "../../../shared/datasets/rows.ts";
import { isEnough, leastHeldOut } from "../../../shared/datasets/stats.ts";
import { isInWindow } from "../../../shared/datasets/window.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { writeFileAtomic } from "../../../shared/files/atomic.ts";
import { datasetFile, type RunDataset } from "../../../shared/runs/run.ts";
import type { Start } from "./protocol.ts";

export interface Snapshot {
  readonly dataset: RunDataset;
  readonly train: readonly Row[];
  readonly heldOut: readonly Row[];
}

/** @throws EverloraError too_few_examples with the counts, when there is not enough to train on or to test with */
export async function takeSnapshot(start: Start, folder: string): Promise<Snapshot> {
  const again = start.dataset === null ? null : await reuse(start, start.dataset, folder);
  if (again !== null) return again;
  const { rows, dropped } = await usableRows(start);
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const snapshot = split(rows, { sha256: sha256(lines), dropped, ...start.window });
  requireEnough(start, snapshot);
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
  const rows = text.split("\n").flatMap((line) => (line === "" ? [] : [rowSchema.parse(JSON.parse(line))]));
  return split(rows, dataset);
}

function split(rows: readonly Row[], facts: Pick<RunDataset, "sha256" | "dropped" | "from" | "to">): Snapshot {
  const train = rows.filter((row) => row.split === "train");
  const heldOut = rows.filter((row) => row.split === "held-out");
  const { sha256: hash, dropped, from, to } = facts;
  return { train, heldOut, dataset: { rows: rows.length, train: train.length, heldOut: heldOut.length, sha256: hash, rowIds: rows.map((row) => row.id), dropped, from, to, trainedTokenShare: null } };
}

/** Rows that can't be used are counted, never an obstacle: a torn line must not stop a domain from learning. */
async function usableRows({ domain, window, paths }: Start): Promise<{ rows: Row[]; dropped: Record<string, number> }> {
  const rows = new Map<string, Row>();
  const dropped: Record<string, number> = {};
  const drop = (reason: string) => {
    dropped[reason] = (dropped[reason] ?? 0) + 1;
  };
  for await (const row of readRows(rowsPath(paths.trainingData, domain), () => drop("unreadable"))) {
    if (row.domain !== domain) drop("other_domain");
    else if (!isInWindow(row, window)) drop("outside_window");
    else {
      if (rows.has(row.id)) drop("duplicate");
      rows.set(row.id, row);
    }
  }
  return { rows: [...rows.values()], dropped };
}

function requireEnough({ domain, minExamples }: Start, { dataset }: Snapshot): void {
  const details = { domain, rows: dataset.rows, train: dataset.train, heldOut: dataset.heldOut, needed: minExamples };
  if (dataset.rows < minExamples) {
    throw new EverloraError("too_few_examples", `Domain ${domain} has ${dataset.rows} rows in the window and needs ${minExamples}.`, { param: "domain", details });
  }
  if (!isEnough(dataset, minExamples)) {
    throw new EverloraError("too_few_examples", `Domain ${domain} has ${dataset.train} rows to train on and ${dataset.heldOut} to test with; a run needs at least 1 and ${leastHeldOut}.`, { param: "domain", hint: "Collect more conversations; force doesn't help, because an adapter that can't be tested can't go live.", details });
  }
}
