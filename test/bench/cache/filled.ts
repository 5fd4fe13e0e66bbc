/** A cache that is full before the gateway starts: entries written as the gateway writes them. */
import { addEntry } from "../../../services/gateway/cache/entries.ts";
import { builtIn } from "../../../services/gateway/cache/embedding.ts";
import { cacheKey, type Answerer } from "../../../services/gateway/cache/key.ts";
import { parseChatRequest } from "../../../services/gateway/chat/request.ts";
import { loadSettings } from "../../../shared/config/settings.ts";
import { sha256, type Conversation } from "../../../shared/events/conversation.ts";
import { Batch } from "../../../shared/redis/batch.ts";
import type { Redis } from "../../../shared/redis/redis.ts";

export interface Filling {
  readonly apiKey: string;
  readonly answerer: Answerer;
  /** As requests name it. */
  readonly model: string;
  /** Whether the gateway that shall find them takes facts for enough. */
  readonly strict: boolean;
  readonly answer: string;
  readonly tokens: number;
}

export function bodyOf(model: string, question: string): string {
  return JSON.stringify({ model, messages: [{ role: "user", content: question }] });
}

export async function fill(redis: Redis, questions: readonly string[], { apiKey, answerer, model, strict, answer, tokens }: Filling): Promise<void> {
  const settings = loadSettings({});
  const usage = { prompt_tokens: 20, completion_tokens: tokens, total_tokens: 20 + tokens };
  for (let from = 0; from < questions.length; from += 500) {
    const batch = new Batch();
    for (const [at, question] of questions.slice(from, from + 500).entries()) {
      const request = parseChatRequest(JSON.parse(bodyOf(model, question)), sha256(apiKey), settings);
      const key = cacheKey(request, answerer, { embedding: builtIn, strict, dialogues: false });
      if (key === null) throw new Error("a question that can't be cached");
      const conversation: Conversation = { version: 1, id: `chatcmpl-${from + at}`, createdAt: Date.now(), caller: request.caller, messages: [{ role: "user", content: question }], answer: { role: "assistant", content: answer }, finishReason: "stop", source: "upstream", model, generation: null };
      addEntry(batch, { key, conversation, usage, tags: [] }, await key.semantic(), 86_400, JSON.stringify(conversation));
    }
    await batch.transact(redis);
  }
}
