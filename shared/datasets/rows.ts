/**
 * training_data/<domain>/rows.jsonl: one row a line, appended by the collector alone, read by everybody. A line that can't be used is named and
 * skipped, never an obstacle: a torn last line is what a crash in mid-write leaves, and its conversation is collected again.
 */
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { describeIssues } from "../errors/errors.ts";
import { appendLinesSynced, syncDirectory } from "../files/atomic.ts";
import { readLines } from "./lines.ts";
import { rowSchema, type Row } from "./row.ts";
import { isInWindow, type Window } from "./window.ts";

export const rowsFile = "rows.jsonl";

export const rowsPath = (trainingData: string, domain: string) => join(trainingData, domain, rowsFile);

/** What is wrong with one line; `reason` never quotes the line. */
export interface RowFault {
  readonly path: string;
  readonly line: number;
  readonly reason: string;
  /** The last line, cut off: expected after a crash. */
  readonly torn: boolean;
}

/** Appends rows of one domain; when it resolves they survive a crash. @param endsWhole see appendLinesSynced */
export async function appendRows(trainingData: string, domain: string, rows: readonly Row[], endsWhole = false): Promise<void> {
  if (rows.length === 0) return;
  const path = rowsPath(trainingData, domain);
  const isThere = entered.has(path) && existsSync(path);
  await appendLinesSynced(path, rows.map((row) => JSON.stringify(row)), endsWhole);
  if (isThere) return;
  await syncDirectory(join(trainingData, domain));
  await syncDirectory(trainingData);
  entered.add(path);
}

/** Files that this process knows to stand in their folder for good: what a file holds is synced each time, its name once. */
const entered = new Set<string>();

/** The rows of one file in the order in which they were written, in constant memory. A file that isn't there has none. @param from see readLines */
export async function* readRows(path: string, onFault: (fault: RowFault) => void = () => undefined, from = 0): AsyncGenerator<Row> {
  for await (const { number, text, whole } of readLines(path, from)) {
    const parsed = text === null ? "not UTF-8, or too long" : parseRow(text);
    if (typeof parsed === "string") onFault({ path, line: number, reason: parsed, torn: !whole });
    else yield parsed;
  }
}

/** Bytes of a file whose rows are kept from one pass to the next: four or five times as much in memory. */
const mostKept = 16 * 1024 * 1024;

/** The rows of one file, for who goes through them several times while nobody writes to it: those of a small file are parsed once, those of a large one never held. */
export class RowPasses {
  readonly #path: string;
  #kept: { readonly rows: readonly Row[]; readonly faults: readonly RowFault[] } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Bytes of the file; 0 where there is none. */
  size(): Promise<number> {
    return sizeOf(this.#path);
  }

  /** As readRows, but that all faults of a small file are told first. */
  async *read(onFault: (fault: RowFault) => void = () => undefined): AsyncGenerator<Row> {
    if (this.#kept === undefined && (await this.size()) <= mostKept) {
      const rows: Row[] = [];
      const faults: RowFault[] = [];
      for await (const row of readRows(this.#path, (fault) => faults.push(fault))) rows.push(row);
      this.#kept = { rows, faults };
    }
    if (this.#kept === undefined) return void (yield* readRows(this.#path, onFault));
    for (const fault of this.#kept.faults) onFault(fault);
    yield* this.#kept.rows;
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0; // who reads it will say what is wrong
  }
}

/** The rows of a domain inside the window, each id once (the newest), oldest line first. For datasets that fit in memory. */
export async function loadRows(trainingData: string, domain: string, window: Window, onFault?: (fault: RowFault) => void): Promise<Row[]> {
  const rows = new Map<string, Row>();
  for await (const row of readRows(rowsPath(trainingData, domain), onFault)) {
    if (row.domain === domain && isInWindow(row, window)) rows.set(row.id, row);
  }
  return [...rows.values()];
}

function parseRow(text: string): Row | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "not JSON";
  }
  const parsed = rowSchema.safeParse(value);
  return parsed.success ? parsed.data : describeIssues(parsed.error.issues, "row");
}
