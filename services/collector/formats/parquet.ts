/** Apache Parquet, read with hyparquet: a row group at a time. Records are chats (messages), ShareGPT (conversations) or columns. */
import { stat } from "node:fs/promises";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { describeIssues, messageOf } from "../../../shared/errors/errors.ts";
import type { FileFormat, Item, ReadOptions } from "./format.ts";
import { fromChat, fromColumns, fromShareGpt, mapColumns, type Shaped } from "./shapes.ts";

/** Rows asked for at once, where a row group has more. */
const page = 20_000;
/** Uncompressed: a file that claims more for one row group is a bomb or not for this machine. */
const largestGroup = 2 ** 30;

export const parquet: FileFormat = {
  name: "parquet",
  about: "Apache Parquet with a column messages (chat), conversations (ShareGPT), or question and answer as in CSV",
  extensions: [".parquet"],
  fits: ({ bytes }) => Buffer.from(bytes.subarray(0, 4)).toString("latin1") === "PAR1",
  read: readParquet,
};

async function* readParquet(path: string, { onBytes }: ReadOptions): AsyncGenerator<Item> {
  const { size } = await stat(path);
  let file;
  let metadata;
  try {
    file = await asyncBufferFromFile(path);
    metadata = await parquetMetadataAsync(file);
  } catch (error) {
    yield { at: { record: 1 }, fault: `not a Parquet file: ${messageOf(error)}` };
    return;
  }
  const large = metadata.row_groups.find(({ total_byte_size: bytes }) => Number(bytes) > largestGroup);
  if (large !== undefined) {
    yield { at: { record: 1 }, fault: `a row group of ${large.total_byte_size} bytes; at most ${largestGroup} are read` };
    return;
  }
  // The tree's root is the table; its children are the columns.
  const names = topColumns(metadata.schema);
  const map = names.includes("messages") || names.includes("conversations") ? null : mapColumns(names);
  if (typeof map === "string") {
    yield { at: { record: 1 }, fault: map };
    return;
  }
  const total = Number(metadata.num_rows);
  if (total === 0) yield { at: { record: 1 }, fault: "the file holds no records" };
  for (const [from, to] of pagesOf(metadata.row_groups.map(({ num_rows: rows }) => Number(rows)))) {
    let rows: Record<string, unknown>[];
    try {
      rows = await parquetReadObjects({ file, metadata, compressors, rowStart: from, rowEnd: to });
    } catch (error) {
      yield { at: { record: from + 1 }, fault: `records ${from + 1} to ${to} can't be read: ${messageOf(error)}` };
      continue;
    }
    for (const [at, row] of rows.entries()) {
      const shaped = map !== null ? fromColumns(row, map) : fromChats(row, names.includes("messages"));
      yield "draft" in shaped ? { at: { record: from + at + 1 }, draft: shaped.draft } : { at: { record: from + at + 1 }, fault: describeIssues(shaped.issues, "record") };
    }
    onBytes?.(Math.round((size * to) / total));
  }
}

/** [from, to) of what is read at once: never of two row groups, since each is decoded anew for each page of it. */
function* pagesOf(groups: readonly number[]): Generator<readonly [number, number]> {
  let begin = 0;
  for (const rows of groups) {
    for (let from = begin; from < begin + rows; from += page) yield [from, Math.min(begin + rows, from + page)];
    begin += rows;
  }
}

/** A column of structs, or of texts that hold the same as JSON. */
function fromChats(row: Readonly<Record<string, unknown>>, messages: boolean): Shaped {
  const column = messages ? "messages" : "conversations";
  let turns = row[column];
  if (typeof turns === "string") {
    try {
      turns = JSON.parse(turns);
    } catch {
      return { issues: [{ path: [column], message: "not JSON" }] };
    }
  }
  return (messages ? fromChat : fromShareGpt)(plain({ ...row, [column]: turns }), undefined);
}

/** Parquet's integers of 64 bits are bigints, where JSON has numbers. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object" || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}

function topColumns(schema: readonly { name: string; num_children?: number | undefined }[]): string[] {
  const names: string[] = [];
  const skip = (at: number): number => {
    let next = at + 1;
    for (let child = 0; child < (schema[at]?.num_children ?? 0); child++) next = skip(next);
    return next;
  };
  for (let at = 1; at < schema.length; at = skip(at)) names.push(schema[at]?.name ?? "");
  return names;
}
