/**
 * A growing array of bytes that lies in memory while it is small and in a file once it is not, so that what the collector remembers of a million rows
 * costs it no more memory than what it remembers of fifty thousand. The file has no name (it is removed while open): it is a cache of what the
 * data files say, made again at each start, and nobody else's business. The system's page cache keeps the hot parts of it in memory.
 */
import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

export interface SpillOptions {
  /** Where the file is made. */
  readonly folder: string;
  /** Bytes that are kept in memory before a file is made. */
  readonly resident?: number;
}

const defaultResident = 8 * 1024 * 1024;

export class Spill {
  readonly #options: SpillOptions;
  #memory: Buffer | null;
  #file = -1;
  #size: number;

  /** All bytes are 0. */
  constructor(size: number, options: SpillOptions) {
    this.#options = options;
    this.#size = size;
    this.#memory = Buffer.alloc(0);
    this.#place(size);
  }

  get size(): number {
    return this.#size;
  }

  get inMemory(): boolean {
    return this.#memory !== null;
  }

  /** Its own bytes, to be looked at until the next change; null when they are not in memory. */
  get bytes(): Buffer | null {
    return this.#memory;
  }

  /** Makes it larger; what is new is 0. */
  grow(size: number): void {
    if (size <= this.#size) return;
    this.#place(size);
    this.#size = size;
  }

  /** Copies `into.length` bytes from `position` on. @throws RangeError beyond the end */
  read(position: number, into: Buffer): void {
    this.#check(position, into.length);
    if (this.#memory !== null) this.#memory.copy(into, 0, position, position + into.length);
    else for (let done = 0; done < into.length; ) done += atLeastOne(readSync(this.#file, into, done, into.length - done, position + done));
  }

  /** @throws RangeError beyond the end, and what the system says when the disk is full */
  write(position: number, from: Buffer): void {
    this.#check(position, from.length);
    if (this.#memory !== null) from.copy(this.#memory, position);
    else for (let done = 0; done < from.length; ) done += atLeastOne(writeSync(this.#file, from, done, from.length - done, position + done));
  }

  close(): void {
    if (this.#file >= 0) closeSync(this.#file);
    this.#file = -1;
    this.#memory = Buffer.alloc(0);
    this.#size = 0;
  }

  #place(size: number): void {
    const memory = this.#memory;
    if (memory !== null && size <= (this.#options.resident ?? defaultResident)) {
      const larger = Buffer.alloc(size);
      memory.copy(larger);
      this.#memory = larger;
      return;
    }
    if (memory !== null) {
      this.#file = openNameless(this.#options.folder);
      for (let done = 0; done < memory.length; ) done += atLeastOne(writeSync(this.#file, memory, done, memory.length - done, done));
      this.#memory = null;
    }
    ftruncateSync(this.#file, size);
  }

  #check(position: number, length: number): void {
    if (position < 0 || position + length > this.#size) throw new RangeError(`bytes ${position} to ${position + length} of ${this.#size}`);
  }
}

function openNameless(folder: string): number {
  const place = mkdtempSync(join(folder, ".index-"));
  try {
    return openSync(join(place, "spill"), "w+");
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** A call that moves nothing would be asked again for ever. */
function atLeastOne(moved: number): number {
  if (moved > 0) return moved;
  throw new Error("the index file ended early");
}
