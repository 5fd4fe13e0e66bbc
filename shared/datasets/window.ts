/** Which rows are young enough to be trained on: TRAINING_DATA_DAYS, by the time at which the answer was given. */
import type { Row } from "./row.ts";

export interface Window {
  /** Milliseconds since 1970; both ends belong to the window. */
  readonly from: number;
  readonly to: number;
}

const millisecondsOfADay = 86_400_000;

/** @param days TRAINING_DATA_DAYS */
export function windowOf(days: number, now: number): Window {
  return { from: now - days * millisecondsOfADay, to: now };
}

export function isInWindow(row: Pick<Row, "createdAt">, window: Window): boolean {
  return row.createdAt >= window.from && row.createdAt <= window.to;
}
