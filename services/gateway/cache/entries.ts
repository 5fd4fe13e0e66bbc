/**
 * Cache entries as they lie in Redis: written with an absolute time to live, read back and checked. A field that is missing, damaged or of
 * another scope makes it no entry. The answer lies there ready to be sent, so that an exact hit parses nothing.
 * Not responsible for: when to look or to write (cache.ts).
 */
import { crc32 } from "node:zlib";
import { z } from "zod";
import { cacheEntryFields, cacheEntryPrefix, cachedConversationPrefix } from "../../../shared/events/cache_entry.ts";
import { textOf, type Conversation } from "../../../shared/events/conversation.ts";
import { Batch } from "../../../shared/redis/batch.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { completionOf, usageSchema, type Head, type Usage } from "../chat/completion.ts";
import { fromBytes, toBytes } from "./embedding.ts";
import type { CacheKey, SemanticKey } from "./key.ts";
import type { IndexEntry } from "./vector_index.ts";

/** Besides the shared fields. */
const fields = {
  ...cacheEntryFields,
  /** Three lines: CRC-32 over the others; JSON of an About; JSON of a chat completion without its head, which is new for each answer. */
  ready: "ready",
  /** Partition of the index. */
  partition: "partition",
  words: "words",
  bag: "bag",
  caller: "caller",
  model: "model",
  /** Separated by blanks. */
  tags: "tags",
} as const;
export { fields as entryFields };

const aboutSchema = z.object({ conversation: z.string(), model: z.string(), generation: z.string().nullable(), usage: usageSchema.nullable() });
type About = z.infer<typeof aboutSchema>;

export interface CachedAnswer extends About {
  /** JSON of the whole completion, under a new head. */
  json(head: Pick<Head, "id" | "created">): string;
  text(): string;
}

export interface NewEntry {
  readonly key: CacheKey;
  readonly conversation: Conversation;
  readonly usage: Usage | undefined;
  readonly tags: readonly string[];
}

/** Entries of one busy minute shall not expire in one minute: up to 5 % earlier, never later. */
const jitter = 0.05;

/** Is this an answer to give again? Only a whole one that ended by itself and says something. */
export function isKeepable(conversation: Conversation): boolean {
  const { answer, finishReason } = conversation;
  return finishReason === "stop" && answer.tool_calls === undefined && /\S/.test(textOf(answer));
}

/** Adds the commands that write the entry. @param json of the conversation @returns when it ends, in milliseconds since 1970 */
export function addEntry(batch: Batch, { key, conversation, usage, tags }: NewEntry, semantic: SemanticKey | null, ttlSeconds: number, json: string): number {
  const name = cacheEntryPrefix + key.exact;
  const milliseconds = Math.max(1, Math.round(ttlSeconds * 1000 * (1 - jitter * Math.random())));
  const reply = replyOf(conversation, usage);
  const about = JSON.stringify({ conversation: conversation.id, model: conversation.model, generation: conversation.generation, usage: usage ?? null } satisfies About);
  const values: (string | Buffer)[] = [fields.conversation, json, fields.scope, key.scope, fields.exact, key.exact, fields.ready, `${checksum(about, reply)}\n${about}\n${reply}`];
  values.push(fields.caller, key.caller, fields.model, conversation.model, fields.tags, tags.join(" "));
  if (semantic !== null) values.push(fields.partition, semantic.partition, fields.words, semantic.words, fields.bag, semantic.bag, fields.embedding, toBytes(semantic.vector));
  batch.add("del", name).add("hset", name, ...values).add("pexpire", name, milliseconds);
  batch.add("set", cachedConversationPrefix + conversation.id, key.exact, "PX", milliseconds);
  return Date.now() + milliseconds;
}

/** What a single command brings of the request's own entry. Its name is the digest of scope and messages, so nothing else must be compared. */
export const readyField = fields.ready;

export interface Neighbour {
  readonly id: string;
  /** null: gone, damaged, or not of this scope and these gates. */
  readonly answer: CachedAnswer | null;
  /** Every word that carries meaning agrees. */
  readonly sameWords: boolean;
  /** The same words in another order. */
  readonly turned: boolean;
}

/** Several entries by id, as far as they belong to the request's scope and pass its gates, in one round trip. */
export async function readNeighbours(redis: Redis, ids: readonly string[], key: CacheKey, semantic: SemanticKey): Promise<Neighbour[]> {
  const batch = new Batch();
  for (const id of ids) batch.add("hmget", cacheEntryPrefix + id, fields.scope, fields.exact, fields.partition, fields.words, fields.bag, fields.ready);
  const replies = await batch.send(redis);
  return ids.map((id, at) => {
    const [fault, values] = replies[at] ?? [];
    const [scope, exact, partition, words, bag, ready] = fault === null && Array.isArray(values) ? (values as (string | null)[]) : [];
    const belongs = scope === key.scope && exact === id && partition === semantic.partition;
    return { id, answer: belongs ? answerOf(ready) : null, sameWords: words === semantic.words, turned: words !== semantic.words && bag === semantic.bag };
  });
}

/** null when it is missing or damaged. */
export function answerOf(ready: string | null | undefined): CachedAnswer | null {
  const [sum, about, reply] = ready?.split("\n") ?? [];
  if (about === undefined || reply === undefined || sum !== checksum(about, reply)) return null;
  const parsed = aboutSchema.safeParse(JSON.parse(about));
  if (!parsed.success) return null;
  const { conversation, model, generation, usage } = parsed.data;
  return { conversation, model, generation, usage, json: ({ id, created }) => `{"id":${JSON.stringify(id)},"created":${created},${reply}`, text: () => textOfReply(reply) };
}

/** A completion's JSON without its first two fields. */
function replyOf(conversation: Conversation, usage: Usage | undefined): string {
  const whole = JSON.stringify(completionOf({ id: "", created: 0, model: conversation.model }, [{ answer: { role: "assistant", content: textOf(conversation.answer) }, finishReason: "stop" }], usage));
  return whole.slice('{"id":"","created":0,'.length);
}

function checksum(about: string, reply: string): string {
  return String(crc32(reply, crc32(about)));
}

const replySchema = z.object({ choices: z.tuple([z.object({ message: z.object({ content: z.string() }) })]) });

function textOfReply(reply: string): string {
  return replySchema.parse(JSON.parse(`{${reply}`)).choices[0].message.content;
}

const indexed = z.object({ partition: z.string().min(1), exact: z.string() });

/** What the index needs of some entries; entries of applications, of another embedding, and dialogues have no vector for it and are left out. */
export async function readForIndex(redis: Redis, ids: readonly string[], dimension: number): Promise<IndexEntry[]> {
  if (ids.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const id of ids) {
    pipeline.hmgetBuffer(cacheEntryPrefix + id, fields.partition, fields.exact, fields.embedding);
    pipeline.pttl(cacheEntryPrefix + id);
  }
  const replies = (await pipeline.exec()) ?? [];
  const now = Date.now();
  return ids.flatMap((id, at) => {
    const [wrongType, values] = replies[2 * at] ?? [];
    const [, ttl] = replies[2 * at + 1] ?? [];
    if (wrongType !== null || !Array.isArray(values) || typeof ttl !== "number" || ttl <= 0) return [];
    const [partition, exact, embedding] = values as (Buffer | null)[];
    const texts = indexed.safeParse({ partition: partition?.toString(), exact: exact?.toString() });
    const vector = embedding === null || embedding === undefined ? undefined : fromBytes(embedding, dimension);
    if (!texts.success || texts.data.exact !== id || vector === undefined) return [];
    return [{ id, partition: texts.data.partition, vector, expiresAt: now + ttl }];
  });
}
