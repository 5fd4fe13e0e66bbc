/**
 * A JSONL file line by line, in constant memory. Splits at "\n" only: Node's readline also splits at U+2028, which JSON allows inside a string.
 */
import { createReadStream } from "node:fs";
import { isMissing } from "../files/missing.ts";

export interface Line {
  /** From 1. */
  readonly number: number;
  /** null: not valid UTF-8, or longer than the limit. */
  readonly text: string | null;
  /** false: the file ends without "\n" after it, as after a crash in mid-write. */
  readonly whole: boolean;
}

/** A longer line is skipped, so that one damaged file can't take all memory. */
const longestLine = 16 * 1024 * 1024;

/** Lines of a file; a file that isn't there has none. Empty lines are left out. @param from the byte to begin at, where a line begins: it is number 1 then */
export async function* readLines(path: string, from = 0): AsyncGenerator<Line> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let number = 1;
  let parts: Buffer[] = [];
  let length = 0;
  const take = (whole: boolean): Line | null => {
    const line = length === 0 ? null : { number, text: length > longestLine ? null : decode(decoder, Buffer.concat(parts)), whole };
    number++;
    parts = [];
    length = 0;
    return line;
  };
  const keep = (part: Buffer) => {
    length += part.length;
    if (length <= longestLine) parts.push(part);
    else parts = [];
  };
  try {
    for await (const chunk of createReadStream(path, { start: from, highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
        keep(chunk.subarray(start, end));
        start = end + 1;
        const line = take(true);
        if (line !== null) yield line;
      }
      keep(chunk.subarray(start));
    }
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  const last = take(false);
  if (last !== null) yield last;
}

function decode(decoder: TextDecoder, bytes: Buffer): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}
