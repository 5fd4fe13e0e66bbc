/** everlora's own cache entries: shared/events/cache_entry.ts. Also what an application left there with only the conversation filled in. */
import { cacheEntryFields, cacheEntryPrefix } from "../../../shared/events/cache_entry.ts";
import { conversationSchema } from "../../../shared/events/conversation.ts";
import { describeIssues } from "../../../shared/errors/errors.ts";
import { largestEntry, type CacheSource, type Entry } from "./source.ts";

const layout = "everlora";

export const everlora: CacheSource = {
  name: layout,
  mayBe: (key) => key.startsWith(cacheEntryPrefix),
  async read(redis, keys) {
    const sizes = redis.pipeline();
    for (const key of keys) sizes.hstrlen(key, cacheEntryFields.conversation).exists(key);
    const replies = (await sizes.exec()) ?? [];
    const entries: Entry[] = [];
    const wanted: string[] = [];
    for (const [at, key] of keys.entries()) {
      const [error, size] = replies[at * 2] ?? [null, 0];
      if (error !== null) entries.push({ key, layout, fault: "not a hash" });
      else if (Number(size) > largestEntry) entries.push({ key, layout, fault: `the field ${cacheEntryFields.conversation} has ${Number(size)} bytes; at most ${largestEntry} are read` });
      else if (Number(size) > 0) wanted.push(key);
      else if (Number(replies[at * 2 + 1]?.[1] ?? 0) === 1) entries.push({ key, layout, fault: `no field ${cacheEntryFields.conversation}` });
    }
    const values = redis.pipeline();
    for (const key of wanted) values.hget(key, cacheEntryFields.conversation);
    const texts = wanted.length === 0 ? [] : ((await values.exec()) ?? []);
    for (const [at, key] of wanted.entries()) {
      const text = texts[at]?.[1];
      if (typeof text === "string") entries.push(parse(key, text));
    }
    return entries;
  },
};

function parse(key: string, text: string): Entry {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { key, layout, fault: "not JSON" };
  }
  const parsed = conversationSchema.safeParse(value);
  return parsed.success ? { key, layout, conversation: parsed.data } : { key, layout, fault: `not a conversation: ${describeIssues(parsed.error.issues, "entry")}` };
}
