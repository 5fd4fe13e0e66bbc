/**
 * The JSON-lines files of a run (log.jsonl, metrics.jsonl): appended by one writer, read by others while they grow. The number of a line, from 1,
 * is its id: lines are never changed or removed while an attempt goes on.
 */
import { open } from "node:fs/promises";
import type { z } from "zod";

export interface NumberedLine<T> {
  readonly id: number;
  readonly value: T;
}

/**
 * Follows a file of JSON lines: each `read` returns what was added since the last one. A line without its newline is not there yet; a line
 * that does not parse (torn by a crash) is passed over, but counted, so that the ids of the others stay.
 */
export class LineReader<T> {
  readonly #path: string;
  readonly #schema: z.ZodType<T>;
  #offset = 0;
  #line = 0;
  #rest: Buffer = Buffer.alloc(0);

  constructor(path: string, schema: z.ZodType<T>) {
    this.#path = path;
    this.#schema = schema;
  }

  /** Number of the last whole line that was read. */
  get lastId(): number {
    return this.#line;
  }

  async read(): Promise<NumberedLine<T>[]> {
    const fresh = await readFrom(this.#path, this.#offset);
    this.#offset += fresh.length;
    const data = this.#rest.length === 0 ? fresh : Buffer.concat([this.#rest, fresh]);
    const lines: NumberedLine<T>[] = [];
    let start = 0;
    for (let end = data.indexOf(0x0a); end !== -1; end = data.indexOf(0x0a, start)) {
      this.#line += 1;
      const value = this.#parse(data.toString("utf8", start, end));
      if (value !== undefined) lines.push({ id: this.#line, value });
      start = end + 1;
    }
    this.#rest = Buffer.from(data.subarray(start));
    return lines;
  }

  #parse(text: string): T | undefined {
    try {
      const parsed = this.#schema.safeParse(JSON.parse(text));
      return parsed.success ? parsed.data : undefined;
    } catch {
      return undefined;
    }
  }
}

/** All whole lines of a file; none when it is not there. */
export async function readLines<T>(path: string, schema: z.ZodType<T>): Promise<NumberedLine<T>[]> {
  return new LineReader(path, schema).read();
}

async function readFrom(path: string, offset: number): Promise<Buffer> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
  try {
    const { size } = await handle.stat();
    if (size <= offset) return Buffer.alloc(0);
    const data = Buffer.alloc(size - offset);
    const { bytesRead } = await handle.read(data, 0, data.length, offset);
    return data.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
