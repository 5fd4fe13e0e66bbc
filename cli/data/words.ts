/** Faults and counts in words. */
import type { FaultPlace } from "../../shared/datasets/commands.ts";

/** "rows.csv:12:3", as editors and compilers write it; where there are no lines, the record. */
export function placeWords(file: string, { line, column, record, within }: FaultPlace): string {
  if (line === undefined && record === undefined) return file;
  const where = line === undefined ? `record ${record ?? "?"}${column === undefined ? "" : `, column ${column}`}` : `${line}${column === undefined ? "" : `:${column}`}`;
  return `${file}:${line === undefined ? " " : ""}${where}${within === undefined ? "" : ` (${within.slice(0, 60)})`}`;
}

/** "3 duplicate, 1 refusal", the most frequent first. */
export function countWords(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${count} ${name}`)
    .join(", ");
}
