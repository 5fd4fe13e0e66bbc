/** Reads and writes of any size: one call of the system moves at most 2 GiB, and may move less than it was asked to. */
import type { FileHandle } from "node:fs/promises";

const chunkBytes = 1 << 30;

/**
 * Fills `into` from `position` on. @param chunk most bytes of one call
 * @returns how many bytes were there: fewer than asked only at the file's end
 */
export async function readFully(file: FileHandle, into: Uint8Array, position: number, chunk = chunkBytes): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, Math.min(chunk, into.length - done), position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Writes all of `data` at `position`. @param chunk most bytes of one call */
export async function writeFully(file: FileHandle, data: Uint8Array, position: number, chunk = chunkBytes): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const { bytesWritten } = await file.write(data, done, Math.min(chunk, data.length - done), position + done);
    done += bytesWritten;
  }
}
