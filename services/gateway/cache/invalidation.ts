/** Finding and removing entries by what they are: a rare and deliberate act, so it looks through the entries instead of keeping lists for it. */
import { cacheEntryPrefix, cachedConversationPrefix } from "../../../shared/events/cache_entry.ts";
import { conversationSchema, type Conversation } from "../../../shared/events/conversation.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { answerOf, entryFields } from "./entries.ts";

/** All that are given must be so. `caller` undefined: everybody's. */
export interface EntryFilter {
  readonly caller?: string | undefined;
  /** An entry's id, or the id of the conversation whose answer it repeats. */
  readonly id?: string;
  readonly model?: string;
  readonly tag?: string;
}

export interface FoundEntry {
  readonly id: string;
  readonly partition: string;
  readonly conversation: string;
}

const page = 500;

/** @throws what Redis throws */
export async function findEntries(redis: Redis, filter: EntryFilter): Promise<FoundEntry[]> {
  if (filter.id !== undefined) {
    const id = (await redis.get(cachedConversationPrefix + filter.id)) ?? filter.id;
    return select(redis, [id], filter);
  }
  const found: FoundEntry[] = [];
  let cursor = "0";
  do {
    const [next, names] = await redis.scan(cursor, "MATCH", `${cacheEntryPrefix}*`, "COUNT", page);
    found.push(...(await select(redis, names.map((name) => name.slice(cacheEntryPrefix.length)), filter)));
    cursor = next;
  } while (cursor !== "0");
  return found;
}

/** @throws what Redis throws */
export async function removeEntries(redis: Redis, entries: readonly FoundEntry[]): Promise<void> {
  for (let from = 0; from < entries.length; from += page) {
    const names = entries.slice(from, from + page).flatMap(({ id, conversation }) => [cacheEntryPrefix + id, cachedConversationPrefix + conversation]);
    await redis.unlink(...names);
  }
}

/** The conversation that an entry repeats, for its caller; null where it is not in the cache any more. @throws what Redis throws */
export async function readConversation(redis: Redis, conversation: string, caller: string): Promise<Conversation | null> {
  const id = await redis.get(cachedConversationPrefix + conversation);
  if (id === null) return null;
  const [owner, text] = await redis.hmget(cacheEntryPrefix + id, entryFields.caller, entryFields.conversation);
  if (owner !== caller || text === null || text === undefined) return null;
  const parsed = conversationSchema.safeParse(JSON.parse(text));
  return parsed.success && parsed.data.id === conversation ? parsed.data : null;
}

async function select(redis: Redis, ids: readonly string[], filter: EntryFilter): Promise<FoundEntry[]> {
  if (ids.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const id of ids) pipeline.hmget(cacheEntryPrefix + id, entryFields.caller, entryFields.model, entryFields.tags, entryFields.partition, entryFields.ready);
  const replies = (await pipeline.exec()) ?? [];
  return ids.flatMap((id, at) => {
    const [fault, values] = replies[at] ?? [];
    if (fault !== null || !Array.isArray(values)) return []; // an application's key of another type
    const [caller, model, tags, partition, ready] = values as (string | null)[];
    // Entries that an application wrote have no caller; they are nobody's here.
    if (caller === null || caller === undefined || (filter.caller !== undefined && filter.caller !== caller)) return [];
    if (filter.model !== undefined && filter.model !== model) return [];
    if (filter.tag !== undefined && !(tags ?? "").split(" ").includes(filter.tag)) return [];
    return [{ id, partition: partition ?? "", conversation: answerOf(ready)?.conversation ?? "" }];
  });
}
