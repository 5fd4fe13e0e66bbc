/** What the scanner must know of the caches in a Redis server: one row of the table of sources. Reading must change nothing, least of all a TTL. */
import type { Conversation } from "../../../shared/events/conversation.ts";
import type { Redis } from "../../../shared/redis/redis.ts";

export type Entry = { readonly key: string; readonly layout: string } & (
  | { readonly conversation: Conversation }
  /** Of a layout that keeps no prompt: nothing can be learnt from it, and nothing is wrong with it. */
  | { readonly unusable: "no_prompt" }
  /** An entry that can't be read; `fault` never quotes it. */
  | { readonly fault: string }
);

export interface CacheSource {
  readonly name: string;
  /** Whether a key may be this program's. */
  readonly mayBe: (key: string) => boolean;
  /** Entries that went away in the meantime, or turn out to be nobody's, are left out. */
  read(redis: Redis, keys: readonly string[]): Promise<Entry[]>;
}

/** A larger entry is not read: it would be dropped as too long, at the price of its memory. */
export const largestEntry = 4 * 1024 * 1024;
