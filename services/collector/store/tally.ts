/**
 * What the collector knows of a domain, in memory: sums for people and metrics, and of the rows as much as the threshold needs: how many there are by
 * hour of their answer. A thousand hours say as much as a million rows.
 */
import { z } from "zod";
import type { Row } from "../../../shared/datasets/row.ts";
import type { Window } from "../../../shared/datasets/window.ts";

export interface Counts {
  readonly rows: number;
  readonly train: number;
  readonly heldOut: number;
}

type TalliedRow = Pick<Row, "createdAt" | "collectedAt" | "split">;

const hourMs = 3_600_000;

const countsOf = <K extends z.ZodType>(key: K) => z.array(z.tuple([key, z.int()]));
/** A tally as JSON. */
export const savedTallySchema = z.object({
  rows: z.int(),
  heldOut: z.int(),
  lastCollected: z.number(),
  dropped: countsOf(z.string()),
  dropsByDay: countsOf(z.int()),
  anonymised: countsOf(z.string()),
  byHour: z.array(z.tuple([z.int(), z.object({ rows: z.int(), heldOut: z.int() })])),
  batches: z.array(z.object({ collectedAt: z.number(), byHour: countsOf(z.int()) })),
});
export type SavedTally = z.infer<typeof savedTallySchema>;

const dayMs = 86_400_000;

export class Tally {
  readonly dropped: Map<string, number>;
  readonly anonymised: Map<string, number>;
  #rows: number;
  #heldOut: number;
  #lastCollected: number;
  readonly #byHour: Map<number, { rows: number; heldOut: number }>;
  /** Lines of the list of drops, by day. */
  readonly #dropsByDay: Map<number, number>;
  /** By hour of the answer, too, and by the batch that brought them: batches that one look at the threshold has dealt with are forgotten. */
  #batches: { readonly collectedAt: number; readonly byHour: Map<number, number> }[];

  /** @param saved as another one was saved */
  constructor(saved?: SavedTally) {
    this.dropped = new Map(saved?.dropped);
    this.anonymised = new Map(saved?.anonymised);
    this.#rows = saved?.rows ?? 0;
    this.#heldOut = saved?.heldOut ?? 0;
    this.#lastCollected = saved?.lastCollected ?? 0;
    this.#byHour = new Map(saved?.byHour);
    this.#dropsByDay = new Map(saved?.dropsByDay);
    this.#batches = (saved?.batches ?? []).map(({ collectedAt, byHour }) => ({ collectedAt, byHour: new Map(byHour) }));
  }

  saved(): SavedTally {
    return {
      rows: this.#rows,
      heldOut: this.#heldOut,
      lastCollected: this.#lastCollected,
      dropped: [...this.dropped],
      dropsByDay: [...this.#dropsByDay],
      anonymised: [...this.anonymised],
      byHour: [...this.#byHour],
      batches: this.#batches.map(({ collectedAt, byHour }) => ({ collectedAt, byHour: [...byHour] })),
    };
  }

  /** Of all time. */
  get counts(): Counts {
    return { rows: this.#rows, train: this.#rows - this.#heldOut, heldOut: this.#heldOut };
  }

  /** collectedAt of the youngest row, 0 without any. */
  get lastCollected(): number {
    return this.#lastCollected;
  }

  addRow({ createdAt, collectedAt, split }: TalliedRow, anonymised: Readonly<Record<string, number>> = {}): void {
    const heldOut = split === "held-out" ? 1 : 0;
    const hour = Math.floor(createdAt / hourMs);
    const counts = this.#byHour.get(hour) ?? { rows: 0, heldOut: 0 };
    counts.rows++;
    counts.heldOut += heldOut;
    this.#byHour.set(hour, counts);
    this.#rows++;
    this.#heldOut += heldOut;
    this.#lastCollected = Math.max(this.#lastCollected, collectedAt);
    this.#batchOf(collectedAt).set(hour, (this.#batchOf(collectedAt).get(hour) ?? 0) + 1);
    for (const [kind, count] of Object.entries(anonymised)) add(this.anonymised, kind, count);
  }

  /** @param at of a drop that has a line of its own */
  addDrop(reason: string, count = 1, at?: number): void {
    add(this.dropped, reason, count);
    if (at !== undefined) add(this.#dropsByDay, Math.floor(at / dayMs), count);
  }

  /** Lines of the list of drops that are older. */
  dropsBefore(time: number): number {
    let sum = 0;
    for (const [day, count] of this.#dropsByDay) if ((day + 1) * dayMs <= time) sum += count;
    return sum;
  }

  /** Rows inside the window. The hour that the window's beginning cuts through does not count: rather asked too late than for too few. */
  inWindow({ from, to }: Window): Counts {
    let rows = 0;
    let heldOut = 0;
    for (const [hour, counts] of this.#byHour) {
      if (!isInside(hour, from, to)) continue;
      rows += counts.rows;
      heldOut += counts.heldOut;
    }
    return { rows, train: rows - heldOut, heldOut };
  }

  /** Rows inside the window that were collected later than `after`. */
  newSince(after: number, { from, to }: Window): number {
    let rows = 0;
    for (const { collectedAt, byHour } of this.#batches) {
      if (collectedAt > after) for (const [hour, count] of byHour) if (isInside(hour, from, to)) rows += count;
    }
    return rows;
  }

  /** Nobody will ask for rows that were collected before this any more. */
  forgetBefore(collectedAt: number): void {
    this.#batches = this.#batches.filter((batch) => batch.collectedAt >= collectedAt);
  }

  #batchOf(collectedAt: number): Map<number, number> {
    let batch = this.#batches.at(-1);
    if (batch?.collectedAt !== collectedAt) batch = this.#batches.find((other) => other.collectedAt === collectedAt);
    if (batch === undefined) {
      // Of very many the older half is taken together: then "since" is coarser for what lies far back, on the side of asking too early.
      if (this.#batches.length >= mostBatches) this.#batches = merge(this.#batches);
      batch = { collectedAt, byHour: new Map() };
      this.#batches.push(batch);
    }
    return batch.byHour;
  }
}

const mostBatches = 4_096;

/** Pairs become one, under the younger one's time. */
function merge(batches: readonly { collectedAt: number; byHour: Map<number, number> }[]): { collectedAt: number; byHour: Map<number, number> }[] {
  const sorted = [...batches].sort((a, b) => a.collectedAt - b.collectedAt);
  const merged: { collectedAt: number; byHour: Map<number, number> }[] = [];
  for (let at = 0; at < sorted.length; at += 2) {
    const [first, second] = [sorted[at], sorted[at + 1]];
    if (first === undefined) continue;
    const byHour = new Map(first.byHour);
    for (const [hour, count] of second?.byHour ?? []) byHour.set(hour, (byHour.get(hour) ?? 0) + count);
    merged.push({ collectedAt: second?.collectedAt ?? first.collectedAt, byHour });
  }
  return merged;
}

const isInside = (hour: number, from: number, to: number) => hour * hourMs >= from && hour * hourMs <= to;

function add<K>(counts: Map<K, number>, key: K, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}
