/**
 * Files that are either whole or not there: write to a temporary name on the same file system, fsync, rename, fsync the directory.
 * (rename alone may survive a crash with an empty file; the directory entry needs its own fsync.)
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { makeFolder } from "./folder.ts";
import { isMissing } from "./missing.ts";

const temporaryMark = ".tmp-";

/** Writes `data` so that a reader sees the old file or the new one, never a part. Creates missing parent folders. @param options as createFileAtomic */
export async function writeFileAtomic(path: string, data: string | Uint8Array, options: Pick<AtomicOptions, "visible"> = {}): Promise<void> {
  await createFileAtomic(path, (file) => file.writeFile(data), options);
}

export interface AtomicOptions {
  readonly mode?: number;
  /** Called when everybody can see the new file, which only a power cut could still take back: for who waits for it and can see it taken back. */
  readonly visible?: () => Promise<unknown>;
}

/**
 * The same for what is written piece by piece. Several processes may do so at once: each writes a file of its own, and the last to end has its way.
 * @param fill writes to the open file and need not sync or close it
 * @throws what `fill` or the disk says: then there is no new file, and an old one is as it was
 */
export async function createFileAtomic(path: string, fill: (file: FileHandle) => Promise<void>, { mode = 0o666, visible }: AtomicOptions = {}): Promise<void> {
  const temporary = temporaryName(path);
  const file = await inFolder(dirname(path), () => open(temporary, "wx", mode));
  try {
    try {
      await fill(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const told = visible?.();
  told?.catch(() => undefined); // told to the caller below, after the disk
  await syncDirectory(dirname(path));
  await told;
}

/**
 * Fills a temporary folder beside `path` and renames it into place. `fill` writes with `writeFileSynced`.
 * @throws what `fill` throws, and EEXIST/ENOTEMPTY when `path` is already there: a published folder is immutable
 */
export async function createFolderAtomic(path: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  await makeFolder(dirname(path));
  const temporary = temporaryName(path);
  try {
    await mkdir(temporary);
    await fill(temporary);
    await syncDirectory(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Plain write plus fsync; for files inside a folder that is not visible yet. */
export async function writeFileSynced(path: string, data: string | Uint8Array): Promise<void> {
  const handle = await open(path, "w");
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Appends whole lines and fsyncs, so that an acknowledged line survives a crash. A torn last line of an earlier crash is closed first.
 * @param endsWhole its only writer knows that the last append to it ended well: nothing is looked at
 */
export async function appendLinesSynced(path: string, lines: readonly string[], endsWhole = false): Promise<void> {
  if (lines.length === 0) return;
  const handle = await inFolder(dirname(path), () => open(path, "a+"));
  try {
    const torn = !endsWhole && (await endsTorn(handle));
    await handle.appendFile(`${torn ? "\n" : ""}${lines.join("\n")}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function endsTorn(handle: FileHandle): Promise<boolean> {
  const { size } = await handle.stat();
  if (size === 0) return false;
  const last = Buffer.alloc(1);
  await handle.read(last, 0, 1, size - 1);
  return last[0] !== 0x0a;
}

/** The folder is nearly always there: it is made only where opening fails without. */
async function inFolder(folder: string, opened: () => Promise<FileHandle>): Promise<FileHandle> {
  try {
    return await opened();
  } catch (error) {
    if (!isMissing(error)) throw error;
    await makeFolder(folder);
    return opened();
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Removes what crashed writers left in `folder`. Call only where no writer is at work.
 * @param only names that are meant, where another writer may be at work on others: a temporary of `x` is called `.x.tmp-...`
 */
export async function removeTemporaries(folder: string, only = /^\./): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  await Promise.all(names.filter((name) => name.includes(temporaryMark) && only.test(name)).map((name) => rm(join(folder, name), { recursive: true, force: true })));
}

/** The same beside writers that may be at work on anything. One at work touches its file all the time: it is gone when it has been silent for an hour. */
export async function removeAbandonedTemporaries(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.includes(temporaryMark)) continue;
    const path = join(folder, name);
    const touched = (await stat(path).catch(() => null))?.mtimeMs ?? Date.now();
    if (Date.now() - touched > 3_600_000) await rm(path, { recursive: true, force: true });
  }
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}${temporaryMark}${randomBytes(6).toString("hex")}`);
}
