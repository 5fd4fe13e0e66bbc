/** Hashing files of any size in little memory, without keeping the thread for longer than a piece takes. */
import type { Hash } from "node:crypto";
import { open } from "node:fs/promises";

/** About a millisecond of SHA-256. */
const pieceBytes = 1 << 20;
/** Pieces that are read into: made anew for each file they would bring the collector. */
const spare: Buffer[] = [];
const mostSpare = 4;

/** Adds a file's content to each of the hashes. @throws what opening or reading throws */
export async function hashFile(path: string, hashes: readonly Hash[]): Promise<void> {
  const file = await open(path, "r");
  const piece = spare.pop() ?? Buffer.allocUnsafeSlow(pieceBytes);
  try {
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, piece.length, null);
      if (bytesRead === 0) break;
      for (const hash of hashes) hash.update(piece.subarray(0, bytesRead));
    }
  } finally {
    if (spare.length < mostSpare) spare.push(piece);
    await file.close();
  }
}
