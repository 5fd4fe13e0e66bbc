/** Counts of a dataset: what decides whether a domain may be trained, and what people are shown. */
import type { Row } from "./row.ts";
import { rowsPath, readRows, type RowFault } from "./rows.ts";
import { isInWindow, type Window } from "./window.ts";

export interface DatasetStats {
  readonly domain: string;
  /** Inside the window, each id once. */
  readonly rows: number;
  readonly train: number;
  readonly heldOut: number;
  /** Outside the window: kept on disk, not trained on. */
  readonly outside: number;
  readonly byLanguage: Readonly<Record<Row["language"], number>>;
  /** Lines that are no rows. */
  readonly faults: readonly RowFault[];
}

/** With fewer held-out rows no run can tell a better adapter from luck. */
export const leastHeldOut = 2;

/** Counts one domain's file in one pass. */
export async function datasetStats(trainingData: string, domain: string, window: Window): Promise<DatasetStats> {
  const faults: RowFault[] = [];
  const sides = new Map<string, Row["split"]>();
  const byLanguage: Record<Row["language"], number> = { pt: 0, en: 0, unknown: 0 };
  let outside = 0;
  for await (const row of readRows(rowsPath(trainingData, domain), (fault) => faults.push(fault))) {
    if (row.domain !== domain || !isInWindow(row, window)) outside++;
    else if (!sides.has(row.id)) {
      sides.set(row.id, row.split);
      byLanguage[row.language]++;
    }
  }
  let heldOut = 0;
  for (const side of sides.values()) if (side === "held-out") heldOut++;
  return { domain, rows: sides.size, train: sides.size - heldOut, heldOut, outside, byLanguage, faults };
}

/** Whether there is enough to train on and to test with. @param minExamples MIN_EXAMPLES_PER_DOMAIN, or the domain's own */
export function isEnough(stats: Pick<DatasetStats, "rows" | "train" | "heldOut">, minExamples: number): boolean {
  return stats.rows >= minExamples && stats.train >= 1 && stats.heldOut >= leastHeldOut;
}
