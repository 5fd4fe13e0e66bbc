/** Reads files for import and validate: items one by one, faults told as they come, progress now and then. */
import { stat } from "node:fs/promises";
import { formatNamed, formatOf } from "../formats/formats.ts";
import type { Draft, FileFormat } from "../formats/format.ts";
import type { Tell } from "./run.ts";

export interface ReadFile {
  readonly format: FileFormat;
  records: number;
  faults: number;
}

const everyMs = 100;

/** @param take called with each good record; its promise is waited for @throws EverloraError unprocessable when the file can't be read or recognised */
export async function readFile(file: string, { format: named, encoding }: { format?: string | undefined; encoding?: string | undefined }, tell: Tell, take: (draft: Draft, format: FileFormat) => Promise<void>): Promise<ReadFile> {
  const format = named === undefined ? await formatOf(file) : formatNamed(named);
  const { size } = await stat(file);
  const read: ReadFile = { format, records: 0, faults: 0 };
  let bytes = 0;
  let told = 0;
  const progress = async () => tell({ type: "progress", what: file, done: Math.min(bytes, size), total: size, records: read.records });
  for await (const item of format.read(file, { encoding, onBytes: (now) => (bytes = now) })) {
    read.records++;
    if ("fault" in item) {
      read.faults++;
      await tell({ type: "fault", file, at: item.at, message: item.fault });
    } else await take(item.draft, format);
    if (Date.now() - told >= everyMs) {
      told = Date.now();
      await progress();
    }
  }
  bytes = size;
  await progress();
  return read;
}
