/**
 * Takes rows out of a file of rows: the file is written anew beside itself and renamed, so that a reader sees the old rows or the new ones, and a full disk
 * or a kill leaves the old ones. Lines that are no rows are left out, too: what can't be read can't be promised to be free of what must go.
 */
import { stat } from "node:fs/promises";
import { createFileAtomic } from "../files/atomic.ts";
import type { Row } from "./row.ts";
import { readRows, rowsPath } from "./rows.ts";

const chunkCharacters = 1 << 20;

/**
 * Call only where nobody appends.
 * @param before called with the rows that go, before they do; when it fails they stay
 * @returns the rows that are gone
 */
export async function removeRows(trainingData: string, domain: string, which: (row: Row) => boolean, before: (rows: readonly Row[]) => Promise<void>): Promise<Row[]> {
  return removeRowsFrom(rowsPath(trainingData, domain), which, before);
}

/** The same for any file with a row a line, such as a snapshot's. */
export async function removeRowsFrom(path: string, which: (row: Row) => boolean, before: (rows: readonly Row[]) => Promise<void> = async () => undefined): Promise<Row[]> {
  // A look first: most files have none of them, and writing a file anew takes longer than reading it.
  const removed: Row[] = [];
  for await (const row of readRows(path)) if (which(row)) removed.push(row);
  if (removed.length === 0) return [];
  await before(removed);
  await createFileAtomic(
    path,
    async (file) => {
      let text = "";
      for await (const row of readRows(path)) {
        if (which(row)) continue;
        text += `${JSON.stringify(row)}\n`;
        if (text.length < chunkCharacters) continue;
        await file.appendFile(text);
        text = "";
      }
      await file.appendFile(text);
    },
    { mode: (await stat(path)).mode },
  );
  return removed;
}
