/** Answers in OpenAI's shapes: whole, in chunks, and from one to the other. Not responsible for sending them. */
import { z } from "zod";
import { messageSchema, type Message } from "../../../shared/events/conversation.ts";
import type { TokenLogprob } from "../engine/protocol.ts";

export const usageSchema = z.looseObject({ prompt_tokens: z.int().min(0), completion_tokens: z.int().min(0), total_tokens: z.int().min(0) });
export type Usage = z.infer<typeof usageSchema>;

const toolCallDelta = z.looseObject({
  index: z.int().min(0).max(1_000),
  id: z.string().nullish(),
  type: z.string().nullish(),
  function: z.looseObject({ name: z.string().nullish(), arguments: z.string().nullish() }).nullish(),
});

export const chunkSchema = z.looseObject({
  id: z.string().nullish(),
  object: z.string().nullish(),
  created: z.number().nullish(),
  model: z.string().nullish(),
  choices: z.array(
    z.looseObject({
      index: z.int().nullish(),
      delta: z.looseObject({ role: z.string().nullish(), content: z.string().nullish(), refusal: z.string().nullish(), tool_calls: z.array(toolCallDelta).nullish() }).nullish(),
      finish_reason: z.string().nullish(),
    }),
  ),
  usage: usageSchema.nullish(),
});
export type Chunk = z.infer<typeof chunkSchema>;

/** OpenAI leaves `content: null` beside tool calls; other servers leave the field out. */
export const completionSchema = z.looseObject({
  id: z.string().nullish(),
  created: z.number().nullish(),
  model: z.string().nullish(),
  choices: z.array(z.looseObject({ index: z.int().nullish(), message: z.looseObject({ ...messageSchema.shape, refusal: z.string().nullish(), tool_calls: messageSchema.shape.tool_calls.nullable() }), finish_reason: z.string().nullish() })).min(1),
  usage: usageSchema.nullish(),
});
export type Completion = z.infer<typeof completionSchema>;

export interface Head {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
}

/** @param cachedTokens of the prompt, that were not computed anew */
export function usageOf(promptTokens: number, completionTokens: number, cachedTokens = 0): Usage {
  return { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: promptTokens + completionTokens, ...(cachedTokens === 0 ? {} : { prompt_tokens_details: { cached_tokens: cachedTokens } }) };
}

type Delta = NonNullable<Chunk["choices"][number]["delta"]>;

export function deltaChunk(head: Head, delta: Delta, more: { index?: number; finishReason?: string | null; logprobs?: readonly TokenLogprob[] | undefined } = {}): Chunk {
  const { index = 0, finishReason = null, logprobs } = more;
  return { ...head, object: "chat.completion.chunk", choices: [{ index, delta, logprobs: logprobs === undefined ? null : { content: logprobs, refusal: null }, finish_reason: finishReason }] };
}

export function usageChunk(head: Head, usage: Usage): Chunk {
  return { ...head, object: "chat.completion.chunk", choices: [], usage };
}

export interface WholeChoice {
  readonly answer: Message;
  readonly finishReason: string;
  readonly logprobs?: readonly TokenLogprob[] | undefined;
}

/** `usage` undefined: nobody counted. */
export function completionOf(head: Head, choices: readonly WholeChoice[], usage: Usage | undefined): Completion {
  return {
    ...head,
    object: "chat.completion",
    choices: choices.map(({ answer, finishReason, logprobs }, index) => ({
      index,
      message: { refusal: null, ...answer, role: "assistant", content: answer.content ?? null },
      logprobs: logprobs === undefined ? null : { content: logprobs, refusal: null },
      finish_reason: finishReason,
    })),
    ...(usage === undefined ? {} : { usage }),
  };
}

/** The chunks of an answer that is there already: a role, the text in pieces of some words, the end. */
export function* replayChunks(head: Head, text: string, usage: Usage | undefined): Generator<Chunk> {
  yield deltaChunk(head, { role: "assistant", content: "" });
  for (const [piece] of text.matchAll(/[\s\S]{1,48}(?:\S{0,16}\s|$)|[\s\S]{1,64}/gu)) yield deltaChunk(head, { content: piece });
  yield deltaChunk(head, {}, { finishReason: "stop" });
  if (usage !== undefined) yield usageChunk(head, usage);
}
