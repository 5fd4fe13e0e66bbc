/** Making folders. In the place of `mkdir` with `recursive`: where a file system takes no new folders (/proc), Node 20's spins for ever on a thread of its pool. */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { isMissing } from "./missing.ts";

/**
 * Makes a folder and those above it that are missing; fine when it is there.
 * @param mode permissions of each that is made, less the process' umask
 * @throws what the file system says of the first that it does not take
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (!isMissing(error)) return requireFolder(path, error);
    if (dirname(path) === path) throw error;
    await makeFolder(dirname(path), mode);
    // Another process may have made it in the meantime.
    await mkdir(path, { mode }).catch((again: unknown) => requireFolder(path, again));
  }
}

async function requireFolder(path: string, reason: unknown): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) throw reason;
}
