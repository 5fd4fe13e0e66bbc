/**
 * One collector per data folder: exactly once holds for one writer only. The lock is a file with the owner's process and host, touched while it is held;
 * what a killed owner left is taken over at once on the same host, and from another (a container that was made anew) once it has gone stale.
 */
import { randomUUID } from "node:crypto";
import { link, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { writeFileAtomic } from "../../../shared/files/atomic.ts";
import { makeFolder } from "../../../shared/files/folder.ts";

const ownerSchema = z.object({ pid: z.int(), host: z.string(), token: z.string(), url: z.string().optional() });
const touchEvery = 5_000;
const staleAfter = 20_000;

export interface Lock {
  /** Writes into it where its owner answers, so that the command line can hand over what it must not write itself. */
  announce(url: string): Promise<void>;
  release(): Promise<void>;
}

/**
 * Waits, for as long as it takes to tell a dead owner on another host from a living one.
 * @throws EverloraError conflict that names the process which holds it
 */
export async function acquireLock(path: string, staleAfterMs = staleAfter): Promise<Lock> {
  await makeFolder(dirname(path));
  const owner = { pid: process.pid, host: hostname(), token: randomUUID() };
  for (let attempt = 0; ; attempt++) {
    if (await create(path, owner)) break;
    const holder = await readOwner(path);
    if (attempt >= 3 || (holder !== null && (await isHeld(path, holder, staleAfterMs)))) {
      throw new EverloraError("conflict", `Another collector (process ${holder?.pid ?? "unknown"} on ${holder?.host ?? "unknown"}) writes to ${dirname(path)} already.`, {
        param: "DATA_DIR",
        details: holder?.url === undefined ? {} : { url: holder.url },
        hint: `Stop it, or set DATA_DIR to another folder. If that process is gone for good, remove ${path}.`,
      });
    }
    await rm(path, { force: true });
  }
  const touch = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined); // a lost touch only makes it look older
  }, touchEvery);
  touch.unref();
  return {
    async announce(url) {
      if ((await readOwner(path))?.token === owner.token) await writeFileAtomic(path, JSON.stringify({ ...owner, url }));
    },
    async release() {
      clearInterval(touch);
      if ((await readOwner(path))?.token === owner.token) await rm(path, { force: true });
    },
  };
}

/** Whole or not at all: a half-written lock would look damaged, and be taken. */
async function create(path: string, owner: z.infer<typeof ownerSchema>): Promise<boolean> {
  const temporary = `${path}.${owner.token}`;
  await writeFile(temporary, JSON.stringify(owner), { flag: "wx" });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function readOwner(path: string): Promise<z.infer<typeof ownerSchema> | null> {
  try {
    return ownerSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return null;
  }
}

/** A process number is used again after a restart of the machine or container: only a fresh lock of a living process counts. */
async function isHeld(path: string, { pid, host }: z.infer<typeof ownerSchema>, staleAfterMs: number): Promise<boolean> {
  const touched = await touchedAt(path);
  const left = touched + staleAfterMs - Date.now();
  if (left <= 0) return false;
  if (host === hostname()) return pid !== process.pid && isAlive(pid);
  await pause(left);
  return (await touchedAt(path)) > touched;
}

function touchedAt(path: string): Promise<number> {
  return stat(path).then(
    (info) => info.mtimeMs,
    () => 0,
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
