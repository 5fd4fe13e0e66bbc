/** Reads files for import and validate: items one by one, faults told as they come, progress now and then. */
import { stat } from "node:fs/promises";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { readHead } from "../formats/encoding.ts";
import { formatNamed, formatOf } from "../formats/formats.ts";
import type { Draft, FileFormat } from "../formats/format.ts";
import type { Tell } from "./run.ts";

export interface ReadFile {
  /** The format's name; "unknown" where the file could not be opened or is none of them: that is its one fault. */
  readonly format: string;
  records: number;
  faults: number;
}

const everyMs = 100;

/** @param take called with each good record; its promise is waited for @throws EverloraError unprocessable when --format or --encoding names nothing */
export async function readFile(file: string, { format: named, encoding }: { format?: string | undefined; encoding?: string | undefined }, tell: Tell, take: (draft: Draft, format: FileFormat) => Promise<void>): Promise<ReadFile> {
  const opened = await openFile(file, named === undefined ? null : formatNamed(named));
  if (typeof opened === "string") {
    await tell({ type: "fault", file, at: {}, message: opened });
    return { format: "unknown", records: 0, faults: 1 };
  }
  const { format, size } = opened;
  const read: ReadFile = { format: format.name, records: 0, faults: 0 };
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

/** One file of several that can't be opened must not keep the others from being read. @returns what is wrong, or the file's format and size */
async function openFile(file: string, named: FileFormat | null): Promise<string | { format: FileFormat; size: number }> {
  try {
    const format = named ?? (await formatOf(file));
    await readHead(file, 1);
    return { format, size: (await stat(file)).size };
  } catch (error) {
    const isOurs = error instanceof EverloraError;
    if (!isOurs && !(error instanceof Error && "code" in error)) throw error;
    return `${messageOf(error).replace(`${file}: `, "")}${isOurs ? ` ${error.hint}` : ""}`;
  }
}
