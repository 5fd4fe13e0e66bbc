/** What the collector knows of a domain, in memory: sums for people and metrics, and of each row as much as the threshold needs. */
import type { Row } from "../../../shared/datasets/row.ts";
import { isInWindow, type Window } from "../../../shared/datasets/window.ts";

export interface Tally {
  /** One for each row, in the order in which they were written. */
  readonly rows: { readonly createdAt: number; readonly collectedAt: number; readonly heldOut: boolean }[];
  readonly dropped: Map<string, number>;
  readonly anonymised: Map<string, number>;
}

export const emptyTally = (): Tally => ({ rows: [], dropped: new Map(), anonymised: new Map() });

export function addRow(tally: Tally, { createdAt, collectedAt, split, anonymised }: Row): void {
  tally.rows.push({ createdAt, collectedAt, heldOut: split === "held-out" });
  for (const [kind, count] of Object.entries(anonymised)) add(tally.anonymised, kind, count);
}

export function addDrop(tally: Tally, reason: string, count = 1): void {
  add(tally.dropped, reason, count);
}

export interface Counts {
  readonly rows: number;
  readonly train: number;
  readonly heldOut: number;
}

/** Rows inside the window. @param after only those collected later than this */
export function countRows(tally: Tally, window: Window, after = -1): Counts {
  let heldOut = 0;
  let rows = 0;
  for (const row of tally.rows) {
    if (!isInWindow(row, window) || row.collectedAt <= after) continue;
    rows++;
    if (row.heldOut) heldOut++;
  }
  return { rows, train: rows - heldOut, heldOut };
}

function add(counts: Map<string, number>, key: string, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}
