/** What the store knows, read from the files: every row and every drop that the checkpoint does not have, in one pass and in memory that does not grow with them (spill.ts). */
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import { dropsFile, foldDrops, readDrops } from "../../../shared/datasets/drops.ts";
import { readRows, rowsFile, rowsPath } from "../../../shared/datasets/rows.ts";
import { domainNameSchema } from "../../../shared/events/streams.ts";
import { removeTemporaries } from "../../../shared/files/atomic.ts";
import { makeFolder } from "../../../shared/files/folder.ts";
import { isMissing } from "../../../shared/files/missing.ts";
import { createDuplicates } from "../deduplicate/duplicates.ts";
import { keyOfRow } from "../pipeline/pipeline.ts";
import { readCheckpoint, type Checkpoint, type State } from "./checkpoint.ts";
import { Known } from "./known.ts";
import { createSides } from "./sides.ts";
import { Tally } from "./tally.ts";

export interface Loaded {
  readonly state: State;
  /** Rows and drops that no checkpoint has. */
  readonly news: number;
}

export function closeState({ known, sides, duplicates }: State): void {
  duplicates.close();
  known.close();
  sides.close();
}

export async function loadState(trainingData: string, domains: readonly string[], log: Logger, readOnly: boolean): Promise<Loaded> {
  await makeFolder(trainingData);
  const options = { folder: trainingData };
  const entries = await readdir(trainingData, { withFileTypes: true });
  if (!readOnly) await Promise.all(entries.filter(({ name }) => name.startsWith(".index-")).map(({ name }) => rm(join(trainingData, name), { recursive: true, force: true })));
  if (!readOnly) await removeTemporaries(trainingData, /^\.\.store-index\./);
  const { state, positions }: Checkpoint = (await readCheckpoint(trainingData, options, log)) ?? { state: { duplicates: createDuplicates(options), sides: createSides(options), tallies: new Map(), known: new Known(options) }, positions: new Map() };
  let news = 0;
  const folders = entries.filter((entry) => entry.isDirectory() && domainNameSchema.safeParse(entry.name).success).map((entry) => entry.name);
  // All rows first: a conversation that was dropped once and kept later (a person approved it) counts as a row.
  for (const domain of new Set([...domains, ...folders])) {
    if (!state.tallies.has(domain)) state.tallies.set(domain, new Tally());
    if (!readOnly) await removeTemporaries(join(trainingData, domain), /^\.(rows|drops)\.jsonl\./);
    news += await loadRowsOf(trainingData, domain, positions.get(domain)?.rows ?? 0, state, log);
  }
  for (const domain of state.tallies.keys()) news += await loadDropsOf(trainingData, domain, positions.get(domain)?.drops ?? 0, state, log, readOnly);
  return { state, news };
}

async function loadRowsOf(trainingData: string, domain: string, from: number, state: State, log: Logger): Promise<number> {
  const path = rowsPath(trainingData, domain);
  await syncFile(path);
  let count = 0;
  for await (const row of readRows(path, (fault) => log.warn({ file: join(domain, rowsFile), line: fault.line, ...(from === 0 ? {} : { afterByte: from }), torn: fault.torn, reason: fault.reason }, "a line of training data is no row; it is left alone"), from)) {
    if (++count % 64 === 0) await nextTurn();
    if (row.domain !== domain) continue;
    state.tallies.get(domain)?.addRow(row, row.anonymised);
    state.known.set(keyOfRow(row), "row");
    state.duplicates.add(row);
    state.sides.add(row);
  }
  return count;
}

async function loadDropsOf(trainingData: string, domain: string, from: number, state: State, log: Logger, readOnly: boolean): Promise<number> {
  await syncFile(join(trainingData, domain, dropsFile));
  const read = await readDrops(trainingData, domain, from);
  if (read.faults > 0) log.warn({ file: join(domain, dropsFile), lines: read.faults }, "lines of the list of drops can't be read; they are left alone");
  const { lines, folded } = readOnly || from > 0 ? read : await foldDrops(trainingData, domain, read, Date.now());
  const tally = state.tallies.get(domain) ?? new Tally();
  state.tallies.set(domain, tally);
  for (const [reason, count] of Object.entries(folded)) tally.addDrop(reason, count);
  for (const { conversation, reason, at } of lines) {
    if (state.known.get(conversation) !== undefined) continue;
    state.known.set(conversation, reason);
    tally.addDrop(reason, 1, at);
  }
  return lines.length;
}

/** What a killed predecessor wrote may still be in memory only; it must be on disk before anything is acknowledged because of it. */
async function syncFile(path: string): Promise<void> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
