/** Waiting for what has no event of its own (files of another process, keys in Redis). */
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Polls until `look` returns something other than undefined, null or false.
 * @throws when it never does, naming what was waited for
 */
export async function until<T>(what: string, look: () => Promise<T | undefined | null | false> | T | undefined | null | false, limitMs = 60_000): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found;
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await sleep(20);
  }
}
