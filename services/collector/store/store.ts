/**
 * The one writer of training_data/. At least once in, exactly once out: a conversation is known by its id as soon as its row or its drop is on disk, and what is
 * known is nothing but what is on disk, read again at every start and after every failed write. So a kill at any moment loses nothing that was not
 * acknowledged, and doubles nothing that was.
 */
import { join } from "node:path";
import type { Logger } from "pino";
import { appendDrops, type Drop } from "../../../shared/datasets/drops.ts";
import { removeRows } from "../../../shared/datasets/remove.ts";
import type { Row } from "../../../shared/datasets/row.ts";
import { appendRows } from "../../../shared/datasets/rows.ts";
import { messageOf } from "../../../shared/errors/errors.ts";
import { makeFolder } from "../../../shared/files/folder.ts";
import type { Duplicates } from "../deduplicate/duplicates.ts";
import { keyOfRow } from "../pipeline/pipeline.ts";
import { closeState, loadState, type State } from "./load.ts";
import type { Sides } from "./sides.ts";
import { Tally } from "./tally.ts";

export interface Batch {
  readonly rows: readonly Row[];
  readonly drops: readonly (Drop & { readonly domain: string })[];
}

export interface Store {
  /** Content of all rows; the pipeline adds to it before the rows are written. */
  readonly duplicates: Duplicates;
  readonly sides: Sides;
  readonly tallies: ReadonlyMap<string, Tally>;
  /** Reads everything again if the last write failed; call it before work on a new batch. */
  settle(): Promise<void>;
  /** What became of a conversation: "row", the reason of its drop, or undefined. @param key conversationKey of its id */
  known(key: string): string | undefined;
  /** Resolves when all of it is safely on disk. After a failure nothing is sure until `settle` has looked. */
  write(batch: Batch): Promise<void>;
  /** How often rows were taken out since the start. */
  readonly removals: number;
  /** Takes rows out of the data for good. Their conversations count as dropped for this reason, so that they don't come again. @returns the rows */
  remove(reason: string, which: (row: Row) => boolean, now: number): Promise<Row[]>;
  close(): void;
}

/** @param domains those that have a tally from the start, rows or not @param readOnly for a look without a trace: nothing is folded, nothing written */
export async function openStore(trainingData: string, domains: readonly string[], log: Logger, readOnly = false): Promise<Store> {
  let state: State = await loadState(trainingData, domains, log, readOnly);
  let inDoubt = false;
  let removals = 0;
  const tallyOf = (domain: string): Tally => {
    const tally = state.tallies.get(domain) ?? new Tally();
    state.tallies.set(domain, tally);
    return tally;
  };
  const settle = async () => {
    if (!inDoubt) return;
    closeState(state);
    state = await loadState(trainingData, domains, log, readOnly);
    inDoubt = false;
  };
  return {
    get duplicates() {
      return state.duplicates;
    },
    get sides() {
      return state.sides;
    },
    get tallies() {
      return state.tallies;
    },
    get removals() {
      return removals;
    },
    settle,
    known: (key) => state.known.get(key),
    async write(batch) {
      if (!readOnly) {
        try {
          await writeFiles(trainingData, batch);
        } catch (error) {
          log.error({ reason: messageOf(error), rows: batch.rows.length, drops: batch.drops.length }, "cannot write training data; it will be tried again");
          inDoubt = true; // some of it may be on disk
          throw error;
        }
      }
      for (const row of batch.rows) {
        state.known.set(keyOfRow(row), "row");
        tallyOf(row.domain).addRow(row, row.anonymised);
      }
      for (const { conversation, domain, reason } of batch.drops) {
        state.known.set(conversation, reason);
        tallyOf(domain).addDrop(reason);
      }
    },
    async remove(reason, which, now) {
      await settle();
      inDoubt = true; // what is in memory is read from the files again, whether or not this comes to its end
      const removed: Row[] = [];
      for (const domain of state.tallies.keys()) {
        removed.push(
          ...(await removeRows(trainingData, domain, which, (rows) => appendDrops(trainingData, domain, rows.map((row) => ({ conversation: keyOfRow(row), reason, at: now }))))),
        );
      }
      if (removed.length === 0) inDoubt = false;
      else removals++;
      await settle();
      return removed;
    },
    close: () => closeState(state),
  };
}

async function writeFiles(trainingData: string, { rows, drops }: Batch): Promise<void> {
  // Side by side: each file's own order is kept, and the disk is waited for once instead of once a file.
  const writes = [...groupBy(rows)].map(([domain, own]) => appendRows(trainingData, domain, own));
  const settled = await Promise.allSettled(writes);
  for (const each of settled) if (each.status === "rejected") throw each.reason;
  for (const [domain, own] of groupBy(drops)) {
    await makeFolder(join(trainingData, domain));
    await appendDrops(trainingData, domain, own.map(({ conversation, reason, at }) => ({ conversation, reason, at })));
  }
}

function groupBy<T extends { readonly domain: string }>(items: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(item.domain);
    if (group === undefined) groups.set(item.domain, [item]);
    else group.push(item);
  }
  return groups;
}
