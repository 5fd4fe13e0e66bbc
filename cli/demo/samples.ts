/**
 * The bundled sample conversations, as an application would have left them in the cache: in mixed order, from several callers, with ids that say
 * nothing. The labels that the samples carry (domain, language, kind) are left out: finding them is the collector's work.
 */
import { randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { cacheEntryFields, cacheEntryPrefix } from "../../shared/events/cache_entry.ts";
import { messageSchema, sha256, type Conversation } from "../../shared/events/conversation.ts";
import { EverloraError, messageOf } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createRandom } from "../../shared/models/random.ts";
import { openRedis } from "../../shared/redis/redis.ts";

const sampleSchema = z.object({ messages: z.array(messageSchema).min(2) });

const callers = 7;
/** The conversations are spread over the hours before now. */
const spreadMs = 6 * 3_600_000;

/** @param seed the same seed gives the same order, callers and times; ids are new each time */
export async function readSamples(folder: string, seed: number, now = Date.now()): Promise<Conversation[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".jsonl")).sort();
  const samples: z.infer<typeof sampleSchema>[] = [];
  for (const name of names) {
    const lines = (await readFile(join(folder, name), "utf8")).split("\n");
    lines.forEach((line, index) => {
      if (line.trim() !== "") samples.push(parseSample(line, `${join(folder, name)}, line ${index + 1}`));
    });
  }
  const random = createRandom(seed);
  return random.shuffle(samples).map(({ messages }, index) => toConversation(messages, random.next, now - Math.floor((spreadMs * (samples.length - index)) / samples.length)));
}

/** All at once, so that the collector meets either none of them or all. */
export async function putIntoCache(redisUrl: string, conversations: readonly Conversation[], ttlSeconds: number): Promise<void> {
  const redis = await openRedis(redisUrl, "failFast", silentLogger);
  try {
    const batch = redis.multi();
    for (const conversation of conversations) {
      const key = `${cacheEntryPrefix}${conversation.id}`;
      batch.hset(key, cacheEntryFields.conversation, JSON.stringify(conversation)).expire(key, ttlSeconds);
    }
    const replies = await batch.exec();
    const fault = replies?.find(([error]) => error !== null)?.[0];
    if (replies === null || (fault !== undefined && fault !== null)) throw new EverloraError("internal_error", `Redis refused the conversations: ${fault?.message ?? "transaction aborted"}`);
  } finally {
    redis.disconnect();
  }
}

function toConversation(messages: readonly z.infer<typeof messageSchema>[], random: () => number, createdAt: number): Conversation {
  const answer = messages.at(-1);
  if (answer?.role !== "assistant") throw new EverloraError("dataset_invalid", "A sample conversation must end with the assistant's answer.");
  return {
    version: 1,
    id: randomUUID(),
    createdAt,
    caller: sha256(`demo caller ${Math.floor(random() * callers)}`),
    messages: messages.slice(0, -1),
    answer,
    finishReason: "stop",
    source: "upstream",
    model: "teacher",
    generation: null,
  };
}

function parseSample(line: string, where: string): z.infer<typeof sampleSchema> {
  try {
    return sampleSchema.parse(JSON.parse(line));
  } catch (error) {
    throw new EverloraError("dataset_invalid", `${where}: ${messageOf(error)}`);
  }
}

/** Fisher and Yates. */
