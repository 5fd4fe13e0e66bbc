/** One `up` a data folder: a lock file that names its owner, taken over when the owner is gone. */
import { randomBytes } from "node:crypto";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { EverloraError, messageOf } from "../../shared/errors/errors.ts";
import { makeFolder } from "../../shared/files/folder.ts";

const ownerSchema = z.object({
  pid: z.int().min(1),
  /** When the process started, as the kernel counts; null where that can't be read. Tells an owner from a later process with its number. */
  started: z.string().nullable(),
});

export interface FolderLock {
  release(): Promise<void>;
}

/** @throws EverloraError already_running, naming the process that holds the lock; invalid_settings where the folder can't be made or written */
export async function lockFolder(file: string): Promise<FolderLock> {
  const token = randomBytes(6).toString("hex");
  const mine = JSON.stringify({ pid: process.pid, started: await startOf(process.pid), token });
  const temporary = `${file}.${token}`;
  try {
    await makeFolder(dirname(file), 0o700);
    await writeFile(temporary, mine, { mode: 0o600, flag: "wx" });
  } catch (error) {
    throw new EverloraError("invalid_settings", `DATA_DIR=${JSON.stringify(dirname(dirname(file)))}: cannot be written: ${messageOf(error)}`, { param: "DATA_DIR", hint: "Name a folder that this user may write to, on a disk with space left.", cause: error });
  }
  try {
    while (!(await linked(temporary, file))) await clearStale(file);
  } finally {
    await rm(temporary, { force: true });
  }
  return {
    release: async () => {
      if ((await readFile(file, "utf8").catch(() => "")) === mine) await rm(file, { force: true });
    },
  };
}

/** A link is made or refused in one step, with the owner's name inside from the start. */
async function linked(temporary: string, file: string): Promise<boolean> {
  try {
    await link(temporary, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function clearStale(file: string): Promise<void> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return; // released this moment
  const owner = ownerOf(text);
  if (owner !== undefined && (await isAlive(owner))) {
    throw new EverloraError("already_running", `Process ${owner.pid} runs everlora on ${dirname(dirname(file))} already.`, { param: "DATA_DIR" });
  }
  const aside = `${file}.${randomBytes(6).toString("hex")}`;
  await rename(file, aside).catch(() => undefined);
  // Another process may have cleared the stale lock first and hold the fresh one that we moved: give it back.
  if ((await readFile(aside, "utf8").catch(() => text)) !== text) await link(aside, file).catch(() => undefined);
  await rm(aside, { force: true });
}

function ownerOf(text: string): z.infer<typeof ownerSchema> | undefined {
  try {
    return ownerSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

async function isAlive({ pid, started }: z.infer<typeof ownerSchema>): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false; // EPERM: it lives and is another user's
  }
  const now = await startOf(pid);
  return started === null || now === null || started === now;
}

/** Field 22 of /proc/<pid>/stat, counted after the name, which may hold spaces. null where there is no /proc. */
async function startOf(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
}
