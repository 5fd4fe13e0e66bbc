/** Apache Parquet, read with hyparquet: a row group at a time. Records are chats (messages), ShareGPT (conversations) or columns. */
import { stat } from "node:fs/promises";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { describeIssues, messageOf } from "../../../shared/errors/errors.ts";
import type { FileFormat, Item, ReadOptions } from "./format.ts";
import { fromChat, fromColumns, fromShareGpt, mapColumns, type Shaped } from "./shapes.ts";

/** Rows asked for at once. */
const page = 1_000;
/** Uncompressed: a file that claims more for one row group is a bomb or not for this machine. */
const largestGroup = 2 ** 31;

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
  for (let from = 0; from < total; from += page) {
    let rows: Record<string, unknown>[];
    try {
      rows = await parquetReadObjects({ file, metadata, compressors, rowStart: from, rowEnd: Math.min(total, from + page) });
    } catch (error) {
      yield { at: { record: from + 1 }, fault: `records ${from + 1} to ${Math.min(total, from + page)} can't be read: ${messageOf(error)}` };
      continue;
    }
    for (const [at, row] of rows.entries()) {
      const shaped: Shaped = map !== null ? fromColumns(row, map) : Array.isArray(row["messages"]) ? fromChat(row, undefined) : fromShareGpt(row, undefined);
      yield "draft" in shaped ? { at: { record: from + at + 1 }, draft: shaped.draft } : { at: { record: from + at + 1 }, fault: describeIssues(shaped.issues, "record") };
    }
    onBytes?.(Math.round((size * Math.min(total, from + page)) / total));
  }
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
