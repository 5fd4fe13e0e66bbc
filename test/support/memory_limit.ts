/** A limit to the memory of a group of processes, where this machine lets us set one: Linux control groups, as root, of version 1 or 2. */
import { access, constants, mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "./wait.ts";

export interface MemoryLimit {
  /** Puts a process into the group; what it forks from then on is in it, too. */
  add(pid: number): Promise<void>;
  /** The pids of all processes in it. */
  members(): Promise<number[]>;
  /** Bytes that count against the limit now. */
  used(): Promise<number>;
  set(bytes: number): Promise<void>;
  /** Once all its processes are gone. */
  remove(): Promise<void>;
}

const versions = [
  { parent: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes" },
  { parent: "/sys/fs/cgroup", limit: "memory.max", used: "memory.current" },
] as const;

/** A new group without a limit yet; null where none can be made. */
export async function memoryLimit(): Promise<MemoryLimit | null> {
  for (const { parent, limit, used } of versions) {
    const folder = join(parent, `everlora-test-${process.pid}-${Date.now()}`);
    try {
      await mkdir(folder);
    } catch {
      continue; // no such hierarchy, or not ours to change
    }
    try {
      await access(join(folder, limit), constants.W_OK);
    } catch {
      await rmdir(folder);
      continue;
    }
    const processes = join(folder, "cgroup.procs");
    const members = async () => (await readFile(processes, "utf8")).split("\n").filter((line) => line !== "").map(Number);
    return {
      add: (pid) => writeFile(processes, String(pid)),
      members,
      used: async () => Number(await readFile(join(folder, used), "utf8")),
      set: (bytes) => writeFile(join(folder, limit), String(bytes)),
      remove: async () => {
        await until("the group's last process to go", async () => (await members()).length === 0);
        await rmdir(folder);
      },
    };
  }
  return null;
}
