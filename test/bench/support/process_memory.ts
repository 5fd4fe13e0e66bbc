/**
 * What a tree of processes takes in memory (Linux): proportional set sizes, in which a page that several map counts for each by its share, so that the
 * sum over all of them is what they take together, mapped files included.
 */
import { readdir, readFile } from "node:fs/promises";
import { basename } from "node:path";

export interface ProcessMemory {
  readonly pid: number;
  /** Of the script that it runs, or of the program. */
  readonly name: string;
  readonly pssMiB: number;
}

interface Entry {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
}

/** The processes of the given ones and everything that they started, biggest first. One that ends meanwhile is left out. */
export async function memoryOf(roots: readonly number[]): Promise<ProcessMemory[]> {
  const found = await Promise.all((await descendants(roots)).map(async ({ pid, name }) => ({ pid, name, pssMiB: await proportional(pid) })));
  return found.flatMap(({ pssMiB, ...entry }) => (pssMiB === null ? [] : [{ ...entry, pssMiB }])).sort((a, b) => b.pssMiB - a.pssMiB);
}

export interface Mapped {
  readonly pid: number;
  readonly name: string;
  /** Of the file's pages, those that are in this process's memory. */
  readonly residentMiB: number;
  /** The same, each page divided by the number of processes that have it. */
  readonly shareMiB: number;
}

/** Who of the tree has a file of this name mapped, and how much of it is shared. */
export async function mappingsOf(roots: readonly number[], fileName: string): Promise<Mapped[]> {
  const found = await Promise.all(
    (await descendants(roots)).map(async ({ pid, name }): Promise<Mapped> => {
      const maps = await readFile(`/proc/${pid}/smaps`, "utf8").catch(() => "");
      const total = { Rss: 0, Pss: 0 };
      let within = false;
      for (const line of maps.split("\n")) {
        const field = /^(Rss|Pss): +(\d+) kB/.exec(line);
        if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) within = line.endsWith(`/${fileName}`);
        else if (within && field !== null) total[field[1] as keyof typeof total] += Number(field[2]) / 1_024;
      }
      return { pid, name, residentMiB: total.Rss, shareMiB: total.Pss };
    }),
  );
  return found.filter(({ residentMiB }) => residentMiB > 0);
}

async function descendants(roots: readonly number[]): Promise<Entry[]> {
  const pids = (await readdir("/proc")).flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
  const all = (await Promise.all(pids.map(entryOf))).filter((entry) => entry !== null);
  const inside = new Set(roots);
  // Until nothing is new: a child may come before its parent in the list.
  for (let size = -1; size !== inside.size; ) {
    size = inside.size;
    for (const { pid, parent } of all) if (inside.has(parent)) inside.add(pid);
  }
  return all.filter(({ pid }) => inside.has(pid));
}

async function entryOf(pid: number): Promise<Entry | null> {
  const [stat, command] = await Promise.all([readFile(`/proc/${pid}/stat`, "utf8").catch(() => null), readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => null)]);
  // The second field is the program's name in brackets, which may hold anything.
  const parent = /\) \S (\d+) /.exec(stat?.slice(stat.lastIndexOf(")")) ?? "")?.[1];
  return stat === null || command === null || parent === undefined ? null : { pid, parent: Number(parent), name: nameOf(command.split("\0")) };
}

/** `services/gateway/engine/child.ts` → gateway/engine/child */
function nameOf(words: readonly string[]): string {
  const script = words.find((word) => /\.ts$/.test(word));
  if (script === undefined) return basename(words[0]?.split(" ")[0] ?? "");
  const inside = /(?:services|cli)\/(.*)\.ts$/.exec(script)?.[1] ?? basename(script);
  return inside.replace(/\/main$/, "");
}

async function proportional(pid: number): Promise<number | null> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8").catch(() => null);
  const kibibytes = /^Pss: +(\d+) kB/m.exec(rollup ?? "")?.[1];
  return kibibytes === undefined ? null : Number(kibibytes) / 1_024;
}
