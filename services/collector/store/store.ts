/**
 * The one writer of training_data/. At least once in, exactly once out: a conversation is known by its id as soon as its row or its drop is on disk, and what is
 * known is nothing but what is on disk, read again at every start and after every failed write. So a kill at any moment loses nothing that was not
 * acknowledged, and doubles nothing that was.
 */
import { mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import { domainNameSchema } from "../../../shared/events/streams.ts";
import { appendDrops, dropsFile, foldDrops, readDrops, type Drop } from "../../../shared/datasets/drops.ts";
import type { Row } from "../../../shared/datasets/row.ts";
import { appendRows, readRows, rowsFile, rowsPath } from "../../../shared/datasets/rows.ts";
import { messageOf } from "../../../shared/errors/errors.ts";
import { createDuplicates, type Duplicates } from "../deduplicate/duplicates.ts";
import { conversationKey, hashedIdMark } from "../pipeline/pipeline.ts";
import { addDrop, addRow, emptyTally, type Tally } from "./tally.ts";

export interface Batch {
  readonly rows: readonly Row[];
  readonly drops: readonly (Drop & { readonly domain: string })[];
}

export interface Store {
  /** Content of all rows; the pipeline adds to it before the rows are written. */
  readonly duplicates: Duplicates;
  readonly tallies: ReadonlyMap<string, Tally>;
  /** Reads everything again if the last write failed; call it before work on a new batch. */
  settle(): Promise<void>;
  /** What became of a conversation: "row", the reason of its drop, or undefined. @param key conversationKey of its id */
  known(key: string): string | undefined;
  /** Resolves when all of it is safely on disk. After a failure nothing is sure until `settle` has looked. */
  write(batch: Batch): Promise<void>;
}

/** @param domains those that have a tally from the start, rows or not */
export async function openStore(trainingData: string, domains: readonly string[], log: Logger): Promise<Store> {
  let state = await load(trainingData, domains, log);
  let inDoubt = false;
  const tallyOf = (domain: string): Tally => {
    const tally = state.tallies.get(domain) ?? emptyTally();
    state.tallies.set(domain, tally);
    return tally;
  };
  return {
    get duplicates() {
      return state.duplicates;
    },
    get tallies() {
      return state.tallies;
    },
    async settle() {
      if (!inDoubt) return;
      state = await load(trainingData, domains, log);
      inDoubt = false;
    },
    known: (key) => state.known.get(key),
    async write(batch) {
      try {
        await writeFiles(trainingData, batch);
      } catch (error) {
        log.error({ reason: messageOf(error), rows: batch.rows.length, drops: batch.drops.length }, "cannot write training data; it will be tried again");
        inDoubt = true; // some of it may be on disk
        throw error;
      }
      for (const row of batch.rows) {
        state.known.set(keyOf(row), "row");
        addRow(tallyOf(row.domain), row);
      }
      for (const { conversation, domain, reason } of batch.drops) {
        state.known.set(conversation, reason);
        addDrop(tallyOf(domain), reason);
      }
    },
  };
}

async function writeFiles(trainingData: string, { rows, drops }: Batch): Promise<void> {
  for (const [domain, own] of groupBy(rows)) await appendRows(trainingData, domain, own);
  for (const [domain, own] of groupBy(drops)) {
    await mkdir(join(trainingData, domain), { recursive: true });
    await appendDrops(trainingData, domain, own.map(({ conversation, reason, at }) => ({ conversation, reason, at })));
  }
}

interface State {
  readonly duplicates: Duplicates;
  readonly tallies: Map<string, Tally>;
  readonly known: Map<string, string>;
}

async function load(trainingData: string, domains: readonly string[], log: Logger): Promise<State> {
  await mkdir(trainingData, { recursive: true });
  const state: State = { duplicates: createDuplicates(), tallies: new Map(), known: new Map() };
  const folders = (await readdir(trainingData, { withFileTypes: true })).filter((entry) => entry.isDirectory() && domainNameSchema.safeParse(entry.name).success).map((entry) => entry.name);
  // All rows first: a conversation that was dropped once and kept later (a person approved it) counts as a row.
  for (const domain of new Set([...domains, ...folders])) {
    state.tallies.set(domain, emptyTally());
    await loadRowsOf(trainingData, domain, state, log);
  }
  for (const domain of state.tallies.keys()) await loadDropsOf(trainingData, domain, state, log);
  return state;
}

async function loadRowsOf(trainingData: string, domain: string, state: State, log: Logger): Promise<void> {
  const path = rowsPath(trainingData, domain);
  await syncFile(path);
  let count = 0;
  for await (const row of readRows(path, (fault) => log.warn({ file: join(domain, rowsFile), line: fault.line, torn: fault.torn, reason: fault.reason }, "a line of training data is no row; it is left alone"))) {
    if (++count % 64 === 0) await nextTurn();
    if (row.domain !== domain) continue;
    const tally = state.tallies.get(domain);
    if (tally !== undefined) addRow(tally, row);
    state.known.set(keyOf(row), "row");
    state.duplicates.add(row);
  }
}

async function loadDropsOf(trainingData: string, domain: string, state: State, log: Logger): Promise<void> {
  await syncFile(join(trainingData, domain, dropsFile));
  const read = await readDrops(trainingData, domain);
  if (read.faults > 0) log.warn({ file: join(domain, dropsFile), lines: read.faults }, "lines of the list of drops can't be read; they are left alone");
  const { lines, folded } = await foldDrops(trainingData, domain, read, Date.now());
  const tally = state.tallies.get(domain) ?? emptyTally();
  state.tallies.set(domain, tally);
  for (const [reason, count] of Object.entries(folded)) addDrop(tally, reason, count);
  for (const { conversation, reason } of lines) {
    if (state.known.has(conversation)) continue;
    state.known.set(conversation, reason);
    addDrop(tally, reason);
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

const keyOf = ({ conversation }: Row) => (conversation.startsWith(hashedIdMark) ? conversation.slice(hashedIdMark.length) : conversationKey(conversation));

function groupBy<T extends { readonly domain: string }>(items: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(item.domain);
    if (group === undefined) groups.set(item.domain, [item]);
    else group.push(item);
  }
  return groups;
}
