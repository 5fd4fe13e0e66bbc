/**
 * Merged cells of a sheet (ECMA-376 part 1, 18.3.1.54): only the first one of a merge has the value, and a person who reads the sheet sees it beside every row
 * that the merge spans. So it counts for all of them: one context, or one question, beside several answers.
 */
import { columnOf, type Cell } from "./xlsx_parts.ts";

export interface Merge {
  /** From 1, as rows have it. */
  readonly from: number;
  readonly to: number;
  /** From 0. */
  readonly column: number;
}

/** More are not held; a sheet made by people has a few thousand. */
const mostMerges = 200_000;
const reference = /<(?:\w+:)?mergeCell\b[^<>]*\bref\s*=\s*["']([A-Z]{1,3}\d{1,7}):([A-Z]{1,3}\d{1,7})["']/g;
/** Longer than any such tag that means something. */
const tail = 512;

/** Merges that span rows, in the order of their first one. Texts of cells can't look like one: there "<" is written as an entity. */
export async function mergesIn(chunks: AsyncIterable<string>): Promise<Merge[]> {
  const merges: Merge[] = [];
  let rest = "";
  for await (const chunk of chunks) {
    const text = rest + chunk;
    let read = 0;
    for (const match of text.matchAll(reference)) {
      read = match.index + match[0].length;
      const [from, to] = [Number(match[1]?.replace(/\D/g, "")), Number(match[2]?.replace(/\D/g, ""))];
      if (to > from && merges.length < mostMerges) merges.push({ from, to, column: columnOf(match[1] ?? "") ?? 0 });
    }
    rest = text.slice(Math.max(read, text.length - tail));
  }
  return merges.sort((a, b) => a.from - b.from);
}

/** @returns gives a row's cells with those of the merges that began above it; to be called for one row after the other */
export function fillDown(merges: readonly Merge[]): (row: number, cells: Cell[]) => Cell[] {
  let next = 0;
  let open: { to: number; cell: Cell }[] = [];
  return (row, cells) => {
    open = open.filter(({ to }) => to >= row);
    const filled = open.length === 0 ? cells : [...cells.filter(({ column }) => !open.some(({ cell }) => cell.column === column)), ...open.map(({ cell }) => cell)];
    for (let merge = merges[next]; merge !== undefined && merge.from <= row; merge = merges[++next]) {
      const { from, to, column } = merge;
      const cell = cells.find((each) => each.column === column);
      if (from === row && cell !== undefined) open.push({ to, cell });
    }
    return filled;
  };
}
