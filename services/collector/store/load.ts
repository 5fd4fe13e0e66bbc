/** What the store knows, read from the files: every row and every drop, in one pass and in memory that does not grow with them (spill.ts). */
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import { dropsFile, foldDrops, readDrops } from "../../../shared/datasets/drops.ts";
import { readRows, rowsFile, rowsPath } from "../../../shared/datasets/rows.ts";
import { domainNameSchema } from "../../../shared/events/streams.ts";
import { removeTemporaries } from "../../../shared/files/atomic.ts";
import { makeFolder } from "../../../shared/files/folder.ts";
import { createDuplicates, type Duplicates } from "../deduplicate/duplicates.ts";
import { keyOfRow } from "../pipeline/pipeline.ts";
import { Known } from "./known.ts";
import { createSides, type Sides } from "./sides.ts";
import { Tally } from "./tally.ts";

export interface State {
  readonly duplicates: Duplicates;
  readonly sides: Sides;
  readonly tallies: Map<string, Tally>;
  readonly known: Known;
}

export function closeState({ known, sides, duplicates }: State): void {
  duplicates.close();
  known.close();
  sides.close();
}

export async function loadState(trainingData: string, domains: readonly string[], log: Logger, readOnly: boolean): Promise<State> {
  await makeFolder(trainingData);
  const options = { folder: trainingData };
  const state: State = { duplicates: createDuplicates(options), sides: createSides(options), tallies: new Map(), known: new Known(options) };
  const entries = await readdir(trainingData, { withFileTypes: true });
  if (!readOnly) await Promise.all(entries.filter(({ name }) => name.startsWith(".index-")).map(({ name }) => rm(join(trainingData, name), { recursive: true, force: true })));
  const folders = entries.filter((entry) => entry.isDirectory() && domainNameSchema.safeParse(entry.name).success).map((entry) => entry.name);
  // All rows first: a conversation that was dropped once and kept later (a person approved it) counts as a row.
  for (const domain of new Set([...domains, ...folders])) {
    state.tallies.set(domain, new Tally());
    if (!readOnly) await removeTemporaries(join(trainingData, domain), /^\.(rows|drops)\.jsonl\./);
    await loadRowsOf(trainingData, domain, state, log);
  }
  for (const domain of state.tallies.keys()) await loadDropsOf(trainingData, domain, state, log, readOnly);
  return state;
}

async function loadRowsOf(trainingData: string, domain: string, state: State, log: Logger): Promise<void> {
  const path = rowsPath(trainingData, domain);
  await syncFile(path);
  let count = 0;
  for await (const row of readRows(path, (fault) => log.warn({ file: join(domain, rowsFile), line: fault.line, torn: fault.torn, reason: fault.reason }, "a line of training data is no row; it is left alone"))) {
    if (++count % 64 === 0) await nextTurn();
    if (row.domain !== domain) continue;
    state.tallies.get(domain)?.addRow(row, row.anonymised);
    state.known.set(keyOfRow(row), "row");
    state.duplicates.add(row);
    state.sides.add(row);
  }
}

async function loadDropsOf(trainingData: string, domain: string, state: State, log: Logger, readOnly: boolean): Promise<void> {
  await syncFile(join(trainingData, domain, dropsFile));
  const read = await readDrops(trainingData, domain);
  if (read.faults > 0) log.warn({ file: join(domain, dropsFile), lines: read.faults }, "lines of the list of drops can't be read; they are left alone");
  const { lines, folded } = readOnly ? read : await foldDrops(trainingData, domain, read, Date.now());
  const tally = state.tallies.get(domain) ?? new Tally();
  state.tallies.set(domain, tally);
  for (const [reason, count] of Object.entries(folded)) tally.addDrop(reason, count);
  for (const { conversation, reason } of lines) {
    if (state.known.get(conversation) !== undefined) continue;
    state.known.set(conversation, reason);
    tally.addDrop(reason);
  }
}

/** What a killed predecessor wrote may still be in memory only; it must be on disk before anything is acknowledged because of it. */
async function syncFile(path: string): Promise<void> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
