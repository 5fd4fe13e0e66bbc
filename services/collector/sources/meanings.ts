/** What other programs put into the values of their entries: LangChain's serialised objects, LiteLLM's stored responses. Each from an unknown to messages, or null. */
import { z } from "zod";
import { messageSchema, textOf, type Message } from "../../../shared/events/conversation.ts";
import { parsePythonLiteral } from "./python_literal.ts";

/** undefined: not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const langchainRoles: Readonly<Record<string, Message["role"]>> = { human: "user", ai: "assistant", system: "system", tool: "tool", function: "function", HumanMessage: "user", AIMessage: "assistant", SystemMessage: "system", ToolMessage: "tool", FunctionMessage: "function", ChatMessage: "user", HumanMessageChunk: "user", AIMessageChunk: "assistant" };
const serialised = z.looseObject({ lc: z.number(), id: z.array(z.string()).min(1), kwargs: z.looseObject({}) });
const content = z.union([z.string(), z.array(z.union([z.string(), z.looseObject({ type: z.string() })]))]);
const langchainMessage = z.looseObject({ content, tool_calls: z.array(z.looseObject({ name: z.string(), args: z.unknown(), id: z.string().nullish() })).nullish(), tool_call_id: z.string().nullish(), response_metadata: z.looseObject({ model_name: z.string().nullish() }).nullish() });

export interface Answer {
  readonly answer: Message;
  readonly model?: string;
}

/** langchain_core.load.dumps of a list of messages; a text that is no such list is a prompt of a model without roles. */
export function langchainPrompt(text: string): Message[] | null {
  const value = text.startsWith("[") ? parseJson(text) : undefined;
  if (!Array.isArray(value) || value.length === 0) return text.trim() === "" ? null : [{ role: "user", content: text }];
  const messages = value.map((each) => langchainMessageOf(each)?.answer);
  return messages.every((message) => message !== undefined) ? messages : null;
}

function langchainMessageOf(value: unknown): Answer | null {
  const object = serialised.safeParse(value);
  if (!object.success) return null;
  const name = object.data.id.at(-1) ?? "";
  const parsed = langchainMessage.safeParse(object.data.kwargs);
  const role = langchainRoles[name];
  if (!parsed.success || role === undefined) return null;
  const { content: given, tool_calls: calls, tool_call_id: id, response_metadata: facts } = parsed.data;
  const parts = typeof given === "string" ? given : given.map((part) => (typeof part === "string" ? { type: "text", text: part } : part));
  const made = (calls ?? []).map((call, at) => ({ id: call.id ?? `call_${at}`, type: "function", function: { name: call.name, arguments: JSON.stringify(call.args ?? {}) } }));
  const answer: Message = { role, content: parts, ...(made.length === 0 ? {} : { tool_calls: made }), ...(id === null || id === undefined ? {} : { tool_call_id: id }) };
  return { answer, ...(facts?.model_name === null || facts?.model_name === undefined ? {} : { model: facts.model_name }) };
}

/** dumps of a list of Generation or ChatGeneration, also where the items were dumped once more as strings (langchain-redis). The first counts. */
export function langchainAnswer(text: string): Answer | null {
  const value = parseJson(text);
  const first: unknown = Array.isArray(value) ? value[0] : value;
  const object = serialised.safeParse(typeof first === "string" ? parseJson(first) : first);
  if (!object.success) return null;
  const { message, text: said } = object.data.kwargs;
  if (message !== undefined) return langchainMessageOf(message);
  return typeof said === "string" ? { answer: { role: "assistant", content: said } } : null;
}

const stored = z.looseObject({ response: z.union([z.string(), z.looseObject({})]), timestamp: z.number().nullish() });
const completion = z.looseObject({ model: z.string().nullish(), choices: z.array(z.looseObject({ finish_reason: z.string().nullish(), message: z.looseObject({ role: z.string().nullish(), content: z.string().nullish(), tool_calls: z.array(z.looseObject({})).nullish() }) })).min(1) });

/** LiteLLM's {"timestamp", "response"}, as JSON or as str(dict); the response is a ModelResponse as JSON. */
export function litellmAnswer(text: string): (Answer & { readonly finishReason?: string; readonly at?: number }) | null {
  const outer = stored.safeParse(parseJson(text) ?? literal(text));
  if (!outer.success) return null;
  const { response, timestamp } = outer.data;
  const inner = completion.safeParse(typeof response === "string" ? (parseJson(response) ?? literal(response)) : response);
  const choice = inner.success ? inner.data.choices[0] : undefined;
  if (!inner.success || choice === undefined) return null;
  const { content: said, tool_calls: calls } = choice.message;
  const answer = messageSchema.safeParse({ role: "assistant", content: said ?? null, ...(calls === null || calls === undefined || calls.length === 0 ? {} : { tool_calls: calls }) });
  if (!answer.success || (textOf(answer.data) === "" && answer.data.tool_calls === undefined)) return null;
  return { answer: answer.data, ...(inner.data.model === null || inner.data.model === undefined ? {} : { model: inner.data.model }), ...(choice.finish_reason === null || choice.finish_reason === undefined ? {} : { finishReason: choice.finish_reason }), ...(timestamp === null || timestamp === undefined ? {} : { at: Math.round(timestamp * 1_000) }) };
}

function literal(text: string): unknown {
  try {
    return parsePythonLiteral(text);
  } catch {
    return undefined;
  }
}
