/** What the scanner must know of a program's cache in Redis: one row of the table of sources. Reading must change nothing, least of all a TTL. */
import type { Conversation } from "../../../shared/events/conversation.ts";
import type { Redis } from "../../../shared/redis/redis.ts";

export type Entry =
  | { readonly key: string; readonly conversation: Conversation }
  /** An entry of this program's that can't be used; `fault` never quotes it. */
  | { readonly key: string; readonly fault: string };

export interface CacheSource {
  readonly name: string;
  /** SCAN's MATCH. */
  readonly match: string;
  /** Entries that went away in the meantime are left out. */
  read(redis: Redis, keys: readonly string[]): Promise<Entry[]>;
}
