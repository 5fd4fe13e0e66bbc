/**
 * Every text of a conversation, wherever it hides: contents, content parts, names, arguments of tool calls (JSON inside a string), tool definitions.
 * The key under which a value stands is given along, because `{"cpf": 52998224725}` says with its key what the number is.
 */
import type { Message } from "../events/conversation.ts";

/** @param label words of the key, like "birth date"; empty outside JSON */
export type Visit = (text: string, label: string) => string;

export interface Walked {
  readonly messages: Message[];
  readonly tools?: Record<string, unknown>[];
}

export function walkConversation({ messages, tools }: { messages: readonly Message[]; tools?: readonly Record<string, unknown>[] | undefined }, visit: Visit): Walked {
  return {
    messages: messages.map((message) => walkMessage(message, visit)),
    ...(tools === undefined ? {} : { tools: tools.map((tool) => walkObject(tool, "", visit)) }),
  };
}

function walkMessage(message: Message, visit: Visit): Message {
  const { role, content, name, tool_calls: calls, tool_call_id: callId, weight } = message;
  return {
    role,
    ...(content === undefined ? {} : { content: walkContent(content, visit) }),
    // A person's name field is a person's name; a tool's is the tool's.
    ...(name === undefined || (message.role !== "tool" && message.role !== "function") ? {} : { name: visit(name, "") }),
    ...(callId === undefined ? {} : { tool_call_id: visit(callId, "") }),
    ...(weight === undefined ? {} : { weight }),
    ...(calls === undefined ? {} : { tool_calls: calls.map((call) => walkObject(call, "", visit)) }),
  };
}

function walkContent(content: NonNullable<Message["content"]> | null, visit: Visit): NonNullable<Message["content"]> | null {
  if (content === null) return null;
  if (typeof content === "string") return walkText(content, "", visit);
  return content.map((part) => ({ ...walkObject(part, "", visit), type: part.type }));
}

/** Text that is itself JSON is walked as JSON and written again. */
function walkText(text: string, label: string, visit: Visit): string {
  const inner = parseJson(text);
  if (inner === undefined) return visit(text, label);
  return JSON.stringify(walkValue(inner, label, visit));
}

function walkValue(value: unknown, label: string, visit: Visit): unknown {
  if (typeof value === "string") return walkText(value, label, visit);
  if (typeof value === "number") {
    const text = String(value);
    const visited = visit(text, label);
    return visited === text ? value : visited;
  }
  if (Array.isArray(value)) return value.map((item) => walkValue(item, label, visit));
  if (typeof value === "object" && value !== null) return walkObject(value as Record<string, unknown>, label, visit);
  return value;
}

function walkObject(object: Readonly<Record<string, unknown>>, label: string, visit: Visit): Record<string, unknown> {
  const walked: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object)) {
    const safeKey = visit(key, "");
    // "__proto__" as a plain property, and no key lost when two become the same placeholder.
    const name = Object.hasOwn(walked, safeKey) ? `${safeKey} ${Object.keys(walked).length}` : safeKey;
    const words = wordsOfKey(key === "value" ? (systemOf(object) ?? key) : key);
    const inner = label === "" || label === "arguments" ? words : `${label} ${words}`;
    // The function's own name and the words of the protocol are no labels for a person's data.
    const structural = typeof value === "string" && (key === "type" || key === "id" || key === "role") && label === "";
    Object.defineProperty(walked, name, { value: structural ? visit(value, "") : walkValue(value, protocolKeys.has(key) ? "" : inner, visit), enumerable: true, writable: true, configurable: true });
  }
  return walked;
}

/** FHIR says in `system` what a value is: "urn:mrn", "http://hospital.example/patient-id", "phone". */
function systemOf({ system }: Readonly<Record<string, unknown>>): string | undefined {
  return typeof system === "string" ? /\p{L}[\p{L}_-]{0,39}$/u.exec(system.slice(-40))?.[0] : undefined;
}

/** Keys of OpenAI's own objects: they say nothing about what a value is. */
const protocolKeys = new Set(["function", "arguments", "text", "content", "parameters", "properties", "description", "input_schema", "type"]);

/** birthDate, birth_date and birth-date → "birth date". */
function wordsOfKey(key: string): string {
  return key
    .replace(/(\p{Ll})(\p{Lu})/gu, "$1 $2")
    .replace(/[_.-]+/g, " ")
    .toLowerCase()
    .slice(0, 40);
}

function parseJson(text: string): object | undefined {
  const start = text.trimStart()[0];
  if (start !== "{" && start !== "[") return undefined;
  // Numbers that a double can't hold would come out changed: such a text is read as text.
  if (/[^"\d]\d{16}/.test(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
