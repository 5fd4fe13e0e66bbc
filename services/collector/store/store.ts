/**
 * The one writer of training_data/. At least once in, exactly once out: a conversation is known by its id from the moment its row or its drop goes to disk, in
 * the order of the writes, and what is known is read again from the disk at every start and after every failed write, with which all that wait behind it
 * fail. So a kill at any moment loses nothing that was not acknowledged, and doubles nothing that was.
 */
import type { Logger } from "pino";
import { appendDrops, type Drop } from "../../../shared/datasets/drops.ts";
import { removeRows } from "../../../shared/datasets/remove.ts";
import type { Row } from "../../../shared/datasets/row.ts";
import { appendRows } from "../../../shared/datasets/rows.ts";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Duplicates } from "../deduplicate/duplicates.ts";
import { keyOfRow } from "../pipeline/pipeline.ts";
import { removeCheckpoint, writeCheckpoint } from "./checkpoint.ts";
import { closeState, loadState } from "./load.ts";
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
  /** What became of a conversation, or will have once all writes have ended well: "row", the reason of its drop, or undefined. @param key conversationKey of its id */
  known(key: string): string | undefined;
  /**
   * Takes a batch at once, and writes it after those that were given before it. Resolves when all of these are safely on disk. After a failure nothing is sure
   * until `settle` has looked: what was judged beside rows that did not come to the disk is not written either.
   */
  write(batch: Batch): Promise<void>;
  /** Resolves when no write is under way, whatever became of them. */
  written(): Promise<void>;
  /**
   * Keeps what it knows in a file, if so much is new that the next start would take long without; call it with no batch under way. A failure is logged: the
   * next start reads the rows.
   */
  save(when: "now and then" | "at the end"): Promise<void>;
  /** How often rows were taken out since the start. */
  readonly removals: number;
  /** Takes rows out of the data for good. Their conversations count as dropped for this reason, so that they don't come again. @returns the rows */
  remove(reason: string, which: (row: Row) => boolean, now: number): Promise<Row[]>;
  close(): void;
}

/** @param domains those that have a tally from the start, rows or not @param readOnly for a look without a trace: nothing is folded, nothing written */
export async function openStore(trainingData: string, domains: readonly string[], log: Logger, readOnly = false): Promise<Store> {
  let { state, news } = await loadState(trainingData, domains, log, readOnly);
  let inDoubt = false;
  let removals = 0;
  /** Files whose last append, by this process, ended well. */
  const whole = new Set<string>();
  /** The last write. Never rejects. */
  let writing: Promise<unknown> = Promise.resolve();
  const tallyOf = (domain: string): Tally => {
    const tally = state.tallies.get(domain) ?? new Tally();
    state.tallies.set(domain, tally);
    return tally;
  };
  const settle = async () => {
    if (!inDoubt) return;
    await writing;
    closeState(state);
    ({ state, news } = await loadState(trainingData, domains, log, readOnly));
    inDoubt = false;
  };
  const writeInTurn = async (batch: Batch): Promise<void> => {
    if (inDoubt) throw new Error("a batch before this one could not be written");
    if (!readOnly) {
      try {
        await writeFiles(trainingData, batch, whole);
      } catch (error) {
        whole.clear();
        log.error({ reason: messageOf(error), rows: batch.rows.length, drops: batch.drops.length }, "cannot write training data; it will be tried again");
        inDoubt = true; // some of it may be on disk
        throw error;
      }
    }
    for (const row of batch.rows) tallyOf(row.domain).addRow(row, row.anonymised);
    for (const { domain, reason, at } of batch.drops) tallyOf(domain).addDrop(reason, 1, at);
    news += batch.rows.length + batch.drops.length;
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
    write(batch) {
      for (const row of batch.rows) state.known.set(keyOfRow(row), "row");
      for (const { conversation, reason } of batch.drops) state.known.set(conversation, reason);
      const own = writing.then(() => writeInTurn(batch));
      writing = own.catch(() => undefined); // each has a caller of its own, who is told
      return own;
    },
    written: async () => {
      await writing;
    },
    async save(when) {
      const { least, share } = worthSaving[when];
      if (readOnly || inDoubt || news < Math.max(least, state.known.count * share)) return;
      await writing;
      if (inDoubt) return;
      news = 0; // a failure is tried again after as many more
      try {
        await writeCheckpoint(trainingData, state);
      } catch (error) {
        log.warn({ reason: messageOf(error) }, "cannot keep the store's index; the next start reads all rows");
      }
    },
    async remove(reason, which, now) {
      await writing;
      await settle();
      whole.clear();
      inDoubt = true; // what is in memory is read from the files again, whether or not this comes to its end
      await removeCheckpoint(trainingData);
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

/** Rows and drops since the last time, and their share of all: to write a conversation's part of the index takes a twentieth of what it takes to make it again. */
const worthSaving = { "now and then": { least: 50_000, share: 0.25 }, "at the end": { least: 1_000, share: 0.02 } } as const;

/** Rows before drops: a drop may say that it repeats a row of the same batch. @param whole as openStore has them; added to */
async function writeFiles(trainingData: string, { rows, drops }: Batch, whole: Set<string>): Promise<void> {
  const remember = (file: string) => void whole.add(file);
  await allOf([...groupBy(rows)].map(([domain, own]) => appendRows(trainingData, domain, own, whole.has(`rows ${domain}`)).then(() => remember(`rows ${domain}`))));
  await allOf([...groupBy(drops)].map(([domain, own]) => appendDrops(trainingData, domain, own.map(({ conversation, reason, at }) => ({ conversation, reason, at })), whole.has(`drops ${domain}`)).then(() => remember(`drops ${domain}`))));
}

/** Side by side: each file's own order is kept, and the disk is waited for once instead of once a file. Resolves or rejects when none is under way any more. */
async function allOf(writes: readonly Promise<void>[]): Promise<void> {
  for (const each of await Promise.allSettled(writes)) if (each.status === "rejected") throw each.reason;
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
