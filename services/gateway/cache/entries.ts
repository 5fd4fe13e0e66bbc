/**
 * Cache entries as they lie in Redis: written with an absolute time to live, read back and checked. A field that is missing, damaged or of
 * another scope makes it no entry. Not responsible for: when to look or to write (cache.ts).
 */
import { z } from "zod";
import { cacheEntryFields, cacheEntryPrefix } from "../../../shared/events/cache_entry.ts";
import { conversationSchema, textOf, type Conversation } from "../../../shared/events/conversation.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { usageSchema, type Usage } from "../chat/completion.ts";
import { fromBytes, toBytes } from "./embedding.ts";
import type { CacheKey } from "./key.ts";
import type { IndexEntry } from "./vector_index.ts";

/** Besides the shared fields: the gates' key, and what the engine or upstream counted. */
const fields = { ...cacheEntryFields, gate: "gate", usage: "usage" } as const;

export interface CachedAnswer {
  readonly conversation: Conversation;
  readonly usage: Usage | undefined;
}

export interface NewEntry extends CachedAnswer {
  readonly key: CacheKey;
}

/** Above this an entry costs more memory than its hit saves time. */
const largestEntry = 1 << 20;
/** Entries of one busy minute shall not expire in one minute: up to 5 % earlier, never later. */
const jitter = 0.05;

/** Is this an answer to give again? Only a whole one that ended by itself and says something. */
export function isKeepable(conversation: Conversation): boolean {
  const { answer, finishReason } = conversation;
  return finishReason === "stop" && answer.tool_calls === undefined && textOf(answer).trim() !== "" && JSON.stringify(conversation).length <= largestEntry;
}

type Multi = ReturnType<Redis["multi"]>;

/** Adds the commands that write the entry. @returns when it ends, in milliseconds since 1970 */
export function addEntry(multi: Multi, { key, conversation, usage }: NewEntry, ttlSeconds: number): number {
  const name = cacheEntryPrefix + key.exact;
  const milliseconds = Math.max(1, Math.round(ttlSeconds * 1000 * (1 - jitter * Math.random())));
  const values: (string | Buffer)[] = [fields.conversation, JSON.stringify(conversation), fields.scope, key.scope, fields.exact, key.exact];
  if (usage !== undefined) values.push(fields.usage, JSON.stringify(usage));
  if (key.semantic !== null) values.push(fields.gate, key.semantic.gate, fields.embedding, toBytes(key.semantic.vector));
  multi.del(name);
  multi.hset(name, ...values);
  multi.pexpire(name, milliseconds);
  return Date.now() + milliseconds;
}

/** The answer under an id, if it is there, whole, and of this scope (and, by meaning, of these gates). */
export async function readAnswer(redis: Redis, id: string, key: CacheKey): Promise<CachedAnswer | null> {
  const [scope, exact, gate, conversation, usage] = await redis.hmget(cacheEntryPrefix + id, fields.scope, fields.exact, fields.gate, fields.conversation, fields.usage);
  if (scope !== key.scope || exact !== id || conversation === null || conversation === undefined) return null;
  if (id !== key.exact && gate !== key.semantic?.gate) return null;
  const parsed = conversationSchema.safeParse(parseJson(conversation));
  if (!parsed.success) return null;
  const counted = usageSchema.safeParse(parseJson(usage ?? ""));
  return { conversation: parsed.data, usage: counted.success ? counted.data : undefined };
}

const indexed = z.object({ scope: z.string(), gate: z.string(), exact: z.string() });

/** What the index needs of some entries; entries of applications, and dialogues, have no vector and are left out. */
export async function readForIndex(redis: Redis, ids: readonly string[]): Promise<IndexEntry[]> {
  if (ids.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const id of ids) {
    pipeline.hmgetBuffer(cacheEntryPrefix + id, fields.scope, fields.gate, fields.exact, fields.embedding);
    pipeline.pttl(cacheEntryPrefix + id);
  }
  const replies = (await pipeline.exec()) ?? [];
  const now = Date.now();
  return ids.flatMap((id, at) => {
    const [wrongType, values] = replies[2 * at] ?? [];
    const [, ttl] = replies[2 * at + 1] ?? [];
    if (wrongType !== null || !Array.isArray(values) || typeof ttl !== "number" || ttl <= 0) return [];
    const [scope, gate, exact, embedding] = values as (Buffer | null)[];
    const texts = indexed.safeParse({ scope: scope?.toString(), gate: gate?.toString(), exact: exact?.toString() });
    const vector = embedding === null || embedding === undefined ? undefined : fromBytes(embedding);
    if (!texts.success || texts.data.exact !== id || vector === undefined) return [];
    return [{ id, scope: texts.data.scope, gate: texts.data.gate, vector, expiresAt: now + ttl }];
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
