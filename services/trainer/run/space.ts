/** Is there room on the disk? Asked before hours of work, not found out at the end of them. */
import { statfs } from "node:fs/promises";
import { EverloraError } from "../../../shared/errors/errors.ts";

/** What must stay free besides the run's own files: compiled graphs, logs, and Redis' AOF live on the same disk. */
export const defaultSpareBytes = 256 * 2 ** 20;

/**
 * Bytes that an adapter of this rank on all linear layers would take in float32, guessed from the base's config.json; 0 when that has other
 * fields. The guess is for a preflight: a model that trains fewer projections needs less.
 */
export function adapterBytes(config: Readonly<Record<string, unknown>>, rank: number): number {
  const field = (name: string) => (typeof config[name] === "number" ? config[name] : 0);
  const hidden = field("hidden_size");
  const inner = field("intermediate_size");
  const attention = 4 * 2 * hidden;
  const feedForward = 3 * (hidden + inner);
  return 4 * rank * field("num_hidden_layers") * (attention + feedForward);
}

/** @throws EverloraError disk_full when `folder`'s file system has fewer than `bytes` free for this user */
export async function requireSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new EverloraError("disk_full", `The disk of ${folder} has ${megabytes(free)} MB free; the run needs ${megabytes(bytes)} MB.`, { param: "DATA_DIR", details: { free, needed: bytes } });
}

/** A failed write as the error that names its cause, anything else as it came. */
export function explainWriteError(thrown: unknown, folder: string): unknown {
  if (!isDiskFull(thrown)) return thrown;
  return new EverloraError("disk_full", `The disk of ${folder} is full.`, { param: "DATA_DIR", cause: thrown });
}

export function isDiskFull(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && (thrown.code === "ENOSPC" || thrown.code === "EDQUOT");
}

const megabytes = (bytes: number) => Math.ceil(bytes / 1e6);
