/**
 * A file of parts one after the other, with a SHA-256 over all of them at its end: JSON, bytes of arrays, contents of Spills. Not responsible for what the parts
 * mean: who reads asks for the same parts in the same order as who wrote.
 */
import { createHash } from "node:crypto";
import { closeSync, createReadStream, openSync, readSync } from "node:fs";
import { stat, type FileHandle } from "node:fs/promises";
import type { z } from "zod";
import { isMissing } from "../../../shared/files/missing.ts";
import { Spill, type SpillOptions } from "./spill.ts";

const digestBytes = 32;
const lengthBytes = 8;
const chunkBytes = 1 << 20;

/** The bytes of an array, not a copy. */
const bytesOf = (view: ArrayBufferView) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);

export class ArchiveWriter {
  readonly #file: FileHandle;
  readonly #hash = createHash("sha256");
  /** Small parts are collected here. */
  #small: Buffer[] = [];
  #length = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  json(value: unknown): Promise<void> {
    return this.array(Buffer.from(JSON.stringify(value)));
  }

  async array(view: ArrayBufferView): Promise<void> {
    await this.#put(lengthOf(view.byteLength));
    await this.#put(bytesOf(view));
  }

  /** Its first `length` bytes. */
  async spill(spill: Spill, length: number): Promise<void> {
    await this.#put(lengthOf(length));
    for (let at = 0; at < length; at += chunkBytes) {
      const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, length - at));
      spill.read(at, chunk);
      await this.#put(chunk);
    }
  }

  /** Writes the digest. */
  async end(): Promise<void> {
    await this.#flush();
    await this.#file.appendFile(this.#hash.digest());
  }

  async #put(bytes: Buffer): Promise<void> {
    this.#small.push(bytes);
    this.#length += bytes.length;
    if (this.#length >= chunkBytes) await this.#flush();
  }

  async #flush(): Promise<void> {
    const parts = this.#small;
    this.#small = [];
    this.#length = 0;
    for (const part of parts.length > 1 && parts.every(({ length }) => length < chunkBytes) ? [Buffer.concat(parts)] : parts) {
      this.#hash.update(part);
      await this.#file.appendFile(part);
    }
  }
}

function lengthOf(bytes: number): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeDoubleLE(bytes);
  return length;
}

/** Reads at once, without giving others the thread: a hundred megabytes take a tenth of a second. */
export class ArchiveReader {
  readonly #file: number;
  #at = 0;

  private constructor(file: number) {
    this.#file = file;
  }

  /** @returns null for a file that is not there @throws Error when it is not what was written */
  static async open(path: string): Promise<ArchiveReader | null> {
    let size;
    try {
      ({ size } = await stat(path));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
    if (size <= digestBytes) throw new Error("it is cut off");
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path, { end: size - digestBytes - 1, highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) hash.update(chunk);
    const reader = new ArchiveReader(openSync(path, "r"));
    const stored = Buffer.alloc(digestBytes);
    readFully(reader.#file, stored, size - digestBytes);
    if (hash.digest().equals(stored)) return reader;
    reader.close();
    throw new Error("its checksum is wrong");
  }

  json<T>(schema: z.ZodType<T>): T {
    const bytes = Buffer.alloc(this.#length());
    this.#take(bytes);
    return schema.parse(JSON.parse(bytes.toString()));
  }

  /** Fills all of it. */
  array(view: ArrayBufferView): void {
    this.#expect(view.byteLength);
    this.#take(bytesOf(view));
  }

  /** A Spill of so many bytes, or more, that begins with what was written. @param size of the Spill, at least what was written */
  spill(size: number, options: SpillOptions): Spill {
    const length = this.#length();
    if (length > size) throw new Error(`a part of ${length} bytes does not fit into ${size}`);
    const spill = new Spill(size, options);
    const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, length));
    for (let at = 0; at < length; at += chunkBytes) {
      const part = chunk.subarray(0, Math.min(chunkBytes, length - at));
      this.#take(part);
      spill.write(at, part);
    }
    return spill;
  }

  close(): void {
    closeSync(this.#file);
  }

  #length(): number {
    const bytes = Buffer.alloc(lengthBytes);
    this.#take(bytes);
    return bytes.readDoubleLE();
  }

  #expect(length: number): void {
    const found = this.#length();
    if (found !== length) throw new Error(`a part has ${found} bytes instead of ${length}`);
  }

  #take(into: Buffer): void {
    readFully(this.#file, into, this.#at);
    this.#at += into.length;
  }
}

function readFully(file: number, into: Buffer, position: number): void {
  for (let done = 0; done < into.length; ) {
    const read = readSync(file, into, done, into.length - done, position + done);
    if (read === 0) throw new Error("it is cut off");
    done += read;
  }
}
