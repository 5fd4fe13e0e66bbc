/** Looking at processes from tests: is one there, and waiting until it is gone. */
import { until } from "./wait.ts";

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export async function untilGone(...pids: readonly number[]): Promise<void> {
  await until(`processes ${pids.join(", ")} gone`, () => !pids.some(isAlive));
}
