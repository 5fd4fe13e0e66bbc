/**
 * Reads entries of the layouts in layouts.ts: type, then sizes, then the few fields that matter, each for many keys at once. Only commands that write nothing
 * and don't refresh a TTL (TYPE, HSTRLEN, STRLEN, HMGET, GET, JSON.GET); an entry that changes or goes between two of them is left for the next scan.
 */
import { createHash } from "node:crypto";
import { conversationSchema } from "../../../shared/events/conversation.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { layouts, type Layout, type Values } from "./layouts.ts";
import { largestEntry, type CacheSource, type Entry } from "./source.ts";

const types: Readonly<Record<string, Layout["type"]>> = { hash: "hash", string: "string", "ReJSON-RL": "json" };
const own = /^(?:everlora:|bull:)/;

export const foreign: CacheSource = {
  name: "other programs",
  mayBe: (key) => !own.test(key) && layouts.some((layout) => layout.key.test(key)),
  read: (redis, keys) => readForeign(redis, keys),
};

interface Candidate {
  readonly key: string;
  readonly type: Layout["type"];
  readonly layouts: readonly Layout[];
  readonly fields: readonly string[];
}

/** Replies of a pipeline: null where the command failed, as it does on a key that has another type by now. */
async function ask(pipeline: ReturnType<Redis["pipeline"]>): Promise<unknown[]> {
  return pipeline.length === 0 ? [] : ((await pipeline.exec()) ?? []).map(([error, reply]) => (error === null ? reply : null));
}

async function readForeign(redis: Redis, keys: readonly string[]): Promise<Entry[]> {
  const asked = redis.pipeline();
  for (const key of keys) asked.type(key);
  const replies = await ask(asked);
  const candidates = keys.flatMap((key, at): Candidate[] => {
    const type = types[String(replies[at])];
    const fitting = layouts.filter((layout) => layout.type === type && layout.key.test(key));
    return type === undefined || fitting.length === 0 ? [] : [{ key, type, layouts: fitting, fields: [...new Set(fitting.flatMap(({ fields }) => fields))] }];
  });
  const tooLarge = await tooLargeOf(redis, candidates);
  const entries: Entry[] = [];
  const wanted = candidates.filter((candidate) => {
    const size = tooLarge.get(candidate.key);
    if (size !== undefined) entries.push({ key: candidate.key, layout: candidate.layouts[0]?.name ?? "", fault: `it has ${size} bytes; at most ${largestEntry} are read` });
    return size === undefined;
  });
  const reads = redis.pipeline();
  for (const { key, type, fields } of wanted) {
    if (type === "hash") reads.hmgetBuffer(key, ...fields);
    else if (type === "string") reads.getBuffer(key);
    else reads.callBuffer("JSON.GET", key);
  }
  const values = await ask(reads);
  for (const [at, candidate] of wanted.entries()) {
    const entry = entryOf(candidate, values[at]);
    if (entry !== null) entries.push(entry);
  }
  return entries;
}

async function tooLargeOf(redis: Redis, candidates: readonly Candidate[]): Promise<Map<string, number>> {
  const sizes = redis.pipeline();
  for (const { key, type, fields } of candidates) {
    if (type === "hash") for (const field of fields) sizes.hstrlen(key, field);
    else if (type === "string") sizes.strlen(key);
  }
  const replies = await ask(sizes);
  const large = new Map<string, number>();
  let at = 0;
  for (const { key, type, fields } of candidates) {
    const count = type === "hash" ? fields.length : type === "string" ? 1 : 0;
    const size = replies.slice(at, (at += count)).reduce<number>((sum, reply) => sum + Number(reply ?? 0), 0);
    if (size > largestEntry) large.set(key, size);
  }
  return large;
}

function entryOf({ key, type, layouts: fitting, fields }: Candidate, reply: unknown): Entry | null {
  const values: Record<string, string | undefined> = {};
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let binary = false;
  const take = (name: string, value: unknown) => {
    if (!Buffer.isBuffer(value)) return;
    try {
      values[name] = decoder.decode(value);
    } catch {
      binary = true;
    }
  };
  if (type === "hash") {
    if (!Array.isArray(reply)) return null;
    fields.forEach((field, at) => take(field, reply[at]));
  } else take("value", reply);
  const layout = fitting.find((each) => each.fits(values));
  // Nobody's: a session store, an upload. Only where its fields say whose it was meant to be is it worth a word.
  if (layout === undefined) return binary && type === "hash" ? { key, layout: fitting[0]?.name ?? "", fault: "its texts are not UTF-8" } : null;
  return read(key, layout, values, binary);
}

function read(key: string, layout: Layout, values: Values, binary: boolean): Entry {
  const name = layout.name;
  if (binary) return { key, layout: name, fault: "its texts are not UTF-8" };
  const meaning = layout.meaning(values);
  if (meaning === "no_prompt") return { key, layout: name, unusable: "no_prompt" };
  if (meaning === null) return { key, layout: name, fault: "its values are not what this layout has" };
  const { messages, answer, model, finishReason, at } = meaning;
  const parsed = conversationSchema.safeParse({
    version: 1,
    // By content: an entry that is stored again is the same; one whose answer changed is another.
    id: `cache-${createHash("sha256").update(JSON.stringify([name, messages, answer])).digest("hex").slice(0, 32)}`,
    createdAt: Math.min(at ?? Date.now(), Date.now()),
    caller: "",
    messages,
    answer,
    source: "import",
    model: model ?? name,
    generation: null,
    provenance: { from: "cache", layout: name },
    ...(finishReason === undefined ? {} : { finishReason }),
  });
  return parsed.success ? { key, layout: name, conversation: parsed.data } : { key, layout: name, fault: "its messages are no conversation" };
}
