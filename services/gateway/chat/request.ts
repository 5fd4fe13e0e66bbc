/**
 * The body of /v1/chat/completions, checked and put into one shape. Unknown fields are ignored here, as OpenAI does, but kept in `body`: an
 * upstream may know them, and the cache's scope counts them.
 */
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { messageSchema, sha256, textOf, type Message } from "../../../shared/events/conversation.ts";

const maxTokens = z.int().min(1).max(1 << 24).nullish();
const penalty = z.number().min(-2).max(2).nullish();

const bodySchema = z.looseObject({
  model: z.string().min(1).max(256),
  // Loose: an upstream may know more fields of a message than we do.
  messages: z.array(z.looseObject(messageSchema.shape)).min(1),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  n: z.int().nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(4)]).nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
  presence_penalty: penalty,
  frequency_penalty: penalty,
  logprobs: z.boolean().nullish(),
  logit_bias: z.record(z.string(), z.number()).nullish(),
  tools: z.array(z.looseObject({})).nullish(),
  response_format: z.looseObject({ type: z.string() }).nullish(),
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
  readonly stop: readonly string[];
  readonly seed: number | undefined;
  readonly temperature: number;
  readonly topP: number;
  /** undefined: as many as the context holds. */
  readonly maxTokens: number | undefined;
  /** SHA-256 over key and end user, hex. */
  readonly caller: string;
}

type Limits = Pick<Settings, "MAX_MESSAGES" | "MAX_PROMPT_CHARACTERS">;

/**
 * @param keyHash SHA-256 of the API key that the request came with
 * @throws EverloraError invalid_request that names the field
 */
export function parseChatRequest(raw: unknown, keyHash: string, limits: Limits): ChatRequest {
  const parsed = bodySchema.safeParse(raw);
  if (!parsed.success) throw new EverloraError("invalid_request", describeIssues(parsed.error.issues), { ...paramOf(parsed.error.issues[0]?.path) });
  const body = parsed.data;
  if (body.n !== null && body.n !== undefined && body.n !== 1) throw new EverloraError("invalid_request", `n: ${body.n} answers were asked for; this gateway gives 1.`, { param: "n", hint: "Leave n out, or send the request once per answer." });
  checkMessages(body.messages, limits);
  const stop = typeof body.stop === "string" ? [body.stop] : (body.stop ?? []);
  if (stop.includes("")) throw new EverloraError("invalid_request", "stop: a stop sequence is empty.", { param: "stop" });
  return {
    body,
    model: body.model,
    messages: body.messages,
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    stop,
    seed: body.seed ?? undefined,
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? 1,
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    caller: callerOf(keyHash, body.user, body.safety_identifier),
  };
}

/** @throws EverloraError invalid_request or context_length_exceeded when there is too much, or nothing, to read */
export function checkMessages(messages: readonly Message[], limits: Limits): void {
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

/** Whose answer it is: two callers never share one. The key's hash, and the end user that the application names. */
function callerOf(keyHash: string, ...endUser: (string | null | undefined)[]): string {
  return sha256(JSON.stringify([keyHash, ...endUser.map((part) => part ?? null)]));
}

/** What the engine's chat templates know: plain text by system, user and assistant. */
export function plainMessages(messages: readonly Message[]): Message[] {
  return messages.map((message) => ({ role: message.role === "developer" ? "system" : message.role, content: textOf(message) }));
}

function paramOf(path: readonly PropertyKey[] | undefined): { param?: string } {
  return path === undefined || path.length === 0 ? {} : { param: path.map(String).join(".") };
}
