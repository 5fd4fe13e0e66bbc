/**
 * The Redis streams, with their payloads: one row per stream. Producer and consumer both go through here, so both parse.
 * Every entry has one field, `json`.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import { conversationSchema } from "./conversation.ts";

export const generationSchema = z.string().regex(/^[0-9a-f]{12}$/, "a generation is 12 hex digits");
export const domainNameSchema = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "a domain name is 1 to 63 of a-z 0-9 . _ - and starts with a letter or digit");

/** An adapter became the live one of its domain, or the domain went back to the base. The files are the truth; this is the bell. */
const adapterEventSchema = z.object({
  type: z.enum(["published", "promoted", "rolled_back"]),
  domain: domainNameSchema,
  /** null: the domain is answered by the base again. */
  generation: generationSchema.nullable(),
  /** Milliseconds since 1970, taken just before the entry is added. */
  at: z.number().int(),
});
export type AdapterEvent = z.infer<typeof adapterEventSchema>;

/** A gateway (`by`) wrote or removed cache entries, or ended flights (`ids` are their names) without writing one. */
const cacheIndexSchema = z.object({ ids: z.array(z.string()), by: z.string(), what: z.enum(["stored", "removed", "ended"]) });

/** What a caller said of an answer. The collector takes a rejected conversation's row out of the training data; an approved one came on `conversations` again, with the approval. */
const feedbackSchema = z.object({
  version: z.literal(1),
  /** Conversation.id, as `x-everlora-conversation` named it. */
  conversation: z.string().min(1).max(128),
  /** As in Conversation: a row of another caller stays. */
  caller: z.string().max(64),
  rating: z.enum(["approved", "rejected"]),
  /** Milliseconds since 1970. */
  at: z.number().int().nonnegative(),
});
export type Feedback = z.infer<typeof feedbackSchema>;

export const streams = {
  /** Outbox of the gateway: every answered request. Consumer group: collector. Trimmed by the collector after it acknowledged. */
  conversations: { key: "everlora:conversations", schema: conversationSchema },
  /** Changes of the live adapters. Every gateway reads all of it from `$`, after it read the files. */
  adapters: { key: "everlora:adapters", schema: adapterEventSchema },
  /** Consumer group: collector, which removes what it has dealt with. */
  feedback: { key: "everlora:feedback", schema: feedbackSchema },
  /** On the cache's server: what the other gateways did with its entries. Capped; a gateway that was away scans instead. */
  cacheIndex: { key: "everlora:cache:index", schema: cacheIndexSchema },
} as const;

export type StreamName = keyof typeof streams;
export type StreamPayload<Name extends StreamName> = z.infer<(typeof streams)[Name]["schema"]>;

/** Adds one entry and returns its id. */
export async function publish<Name extends StreamName>(redis: Redis, name: Name, payload: StreamPayload<Name>): Promise<string> {
  const id = await redis.xadd(streams[name].key, "*", "json", JSON.stringify(payload));
  return id ?? "";
}

export type Parsed<Name extends StreamName> = { id: string; payload: StreamPayload<Name> } | { id: string; fault: string };

/** One raw entry (id, flat field list) parsed; a fault says what is wrong with it and never throws: the stream must go on. */
export function parseEntry<Name extends StreamName>(name: Name, [id, fields]: readonly [string, readonly string[] | null]): Parsed<Name> {
  const at = fields?.indexOf("json") ?? -1;
  const text = at >= 0 ? fields?.[at + 1] : undefined;
  if (text === undefined) return { id, fault: "no field json" };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { id, fault: "not JSON" };
  }
  const parsed = streams[name].schema.safeParse(value);
  if (!parsed.success) return { id, fault: z.prettifyError(parsed.error) };
  return { id, payload: parsed.data as StreamPayload<Name> };
}
