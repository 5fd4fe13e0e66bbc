/** Looking at processes from tests: is one there, and waiting until it is gone. */

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Resolves when `condition` holds; fails after `limitMs` (a hang would fail later and say less). */
export async function until(what: string, condition: () => boolean | Promise<boolean>, limitMs = 30_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function untilGone(...pids: readonly number[]): Promise<void> {
  await until(`processes ${pids.join(", ")} gone`, () => !pids.some(isAlive));
}
