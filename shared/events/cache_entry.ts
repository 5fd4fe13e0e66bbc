/**
 * Layout of a semantic-cache entry in Redis: a HASH at `everlora:cache:entry:<id>`, with an absolute TTL. The gateway writes it; the collector
 * reads it (the field `conversation`) to find what the stream missed; an application may write one too, with only `conversation` filled in.
 */
export const cacheEntryPrefix = "everlora:cache:entry:";

/** Of a recorded conversation's id, the id of the entry that repeats its answer: a STRING with the entry's TTL. */
export const cachedConversationPrefix = "everlora:cache:conversation:";

export const cacheEntryFields = {
  /** JSON of a Conversation. The one field that every entry has. */
  conversation: "conversation",
  /** SHA-256 of everything that must be equal for a hit: caller, base, generation, system prompt, tools, response format, sampling class. */
  scope: "scope",
  /** SHA-256 of the canonical request within its scope. */
  exact: "exact",
  /** Little-endian float32 vector, raw bytes: read with a buffer command. */
  embedding: "embedding",
} as const;
