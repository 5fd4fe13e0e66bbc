/**
 * The body of /v1/chat/completions, checked and put into one shape. Unknown fields are ignored here, as OpenAI does, but kept in `body`: an
 * upstream may know them, and the cache's scope counts them.
 */
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { callerOf } from "../../../shared/events/caller.ts";
import { messageSchema, textOf, type Message } from "../../../shared/events/conversation.ts";
import { responseFormatShape } from "./response_format.ts";
import { checkTokenLimit, readSampling, samplingShape, tokenLimit, type Sampling } from "./sampling.ts";

const bodySchema = z.looseObject({
  ...samplingShape,
  model: z.string().max(256).nullish(),
  /** As LoRAX takes it: an adapter to answer with, whatever `model` says. */
  adapter_id: z.string().max(256).nullish(),
  // Loose: an upstream may know more fields of a message than we do.
  messages: z.array(z.looseObject(messageSchema.shape)).min(1),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  max_tokens: tokenLimit,
  max_completion_tokens: tokenLimit,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: z.array(z.looseObject({})).nullish(),
  response_format: responseFormatShape.nullish(),
  user: z.string().max(512).nullish(),
  safety_identifier: z.string().max(512).nullish(),
  store: z.boolean().nullish(),
});
export type ChatBody = z.infer<typeof bodySchema>;

export interface ChatRequest {
  readonly body: ChatBody;
  readonly model: string;
  readonly messages: readonly Message[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly sampling: Sampling;
  readonly temperature: number;
  /** How many likeliest alternatives come with each token; null: no log-probabilities. */
  readonly logprobs: number | null;
  /** undefined: as many as the context holds. */
  readonly maxTokens: number | undefined;
  /** SHA-256 over key and end user, hex. */
  readonly caller: string;
}

type Limits = Pick<Settings, "MAX_MESSAGES" | "MAX_PROMPT_CHARACTERS" | "MAX_CHOICES" | "MAX_COMPLETION_TOKENS">;

/**
 * @param keyHash SHA-256 of the API key that the request came with
 * @throws EverloraError invalid_request that names the field
 */
export function parseChatRequest(raw: unknown, keyHash: string, limits: Limits): ChatRequest {
  const parsed = bodySchema.safeParse(raw);
  if (!parsed.success) throw new EverloraError("invalid_request", describeIssues(parsed.error.issues), { ...paramOf(parsed.error.issues[0]?.path) });
  const body = parsed.data;
  const sampling = readSampling(body, limits);
  checkMessages(body.messages, limits);
  if (typeof body.top_logprobs === "number" && body.logprobs !== true) throw new EverloraError("invalid_request", "top_logprobs: it needs logprobs to be true.", { param: "top_logprobs" });
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? undefined;
  checkTokenLimit(maxTokens, typeof body.max_completion_tokens === "number" ? "max_completion_tokens" : "max_tokens", limits);
  return {
    body,
    model: modelOf(body),
    messages: body.messages,
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    sampling,
    temperature: sampling.temperature,
    logprobs: body.logprobs === true ? (body.top_logprobs ?? 0) : null,
    maxTokens,
    caller: callerOf(keyHash, body.user, body.safety_identifier),
  };
}

/** @throws EverloraError invalid_request or context_length_exceeded when there is too much, or nothing, to read */
export function checkMessages(messages: readonly Message[], limits: Pick<Limits, "MAX_MESSAGES" | "MAX_PROMPT_CHARACTERS">): void {
  if (messages.length > limits.MAX_MESSAGES) throw new EverloraError("invalid_request", `messages: ${messages.length} messages; at most ${limits.MAX_MESSAGES} are taken.`, { param: "messages", hint: "Send fewer messages, or raise MAX_MESSAGES." });
  const characters = messages.reduce((sum, message) => sum + textOf(message).length, 0);
  if (characters > limits.MAX_PROMPT_CHARACTERS) throw new EverloraError("context_length_exceeded", `messages: ${characters} characters; at most ${limits.MAX_PROMPT_CHARACTERS} are taken.`, { param: "messages", hint: "Shorten the messages, or raise MAX_PROMPT_CHARACTERS." });
  messages.forEach((message, at) => {
    const missing = message.content === undefined || message.content === null;
    // An assistant's turn may hold nothing but calls of tools.
    if (missing && message.role !== "assistant") throw new EverloraError("invalid_request", `messages.${at}.content: a message of role ${message.role} needs content.`, { param: `messages.${at}.content` });
    if (message.role === "tool" && message.tool_call_id === undefined) throw new EverloraError("invalid_request", `messages.${at}.tool_call_id: a message of role tool needs it.`, { param: `messages.${at}.tool_call_id` });
  });
  if (!messages.some((message) => message.role !== "system" && message.role !== "developer")) throw new EverloraError("invalid_request", "messages: there is nothing but instructions; send at least one message of the user.", { param: "messages" });
}

/** The model's name; `adapter_id` comes first, where `domain/generation` means `domain@generation`. @throws EverloraError invalid_request without either */
export function modelOf(body: { readonly model?: string | null | undefined; readonly adapter_id?: string | null | undefined }): string {
  const { adapter_id: adapter, model } = body;
  if (adapter !== null && adapter !== undefined && adapter !== "") return adapter.replace(/^([^/@]+)\/([0-9a-f]{12})$/, "$1@$2");
  if (model === null || model === undefined || model === "") throw new EverloraError("invalid_request", "model: no model is named.", { param: "model", hint: "GET /v1/models lists what can be named; auto chooses by itself." });
  return model;
}

/** What the engine's chat templates know: plain text by system, user and assistant. */
export function plainMessages(messages: readonly Message[]): Message[] {
  return messages.map((message) => ({ role: message.role === "developer" ? "system" : message.role, content: textOf(message) }));
}

export function paramOf(path: readonly PropertyKey[] | undefined): { param?: string } {
  return path === undefined || path.length === 0 ? {} : { param: path.map(String).join(".") };
}
