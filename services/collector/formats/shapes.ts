/**
 * What one record of each format means: OpenAI chat, Alpaca, ShareGPT, PubMedQA, columns. Each function takes a parsed value of unknown kind and gives a draft,
 * or issues with the path of what is wrong. zod says what a record must be; here is what it becomes.
 */
import { z } from "zod";
import { messageSchema, textOf, type Message } from "../../../shared/events/conversation.ts";
import { domainNameSchema } from "../../../shared/events/streams.ts";
import type { Draft } from "./format.ts";

export interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}
export type Shaped = { readonly draft: Draft } | { readonly issues: readonly Issue[] };
export type ShapeOf = (value: unknown, key: string | undefined) => Shaped;

const fail = (path: readonly PropertyKey[], message: string): Shaped => ({ issues: [{ path, message }] });

/** Splits at the last assistant turn that is to be learnt; what follows it (a question without an answer, turns of weight 0) teaches nothing. */
function fromMessages(messages: readonly Message[], path: readonly PropertyKey[], rest: Omit<Draft, "messages" | "answer"> = {}): Shaped {
  let last = messages.length - 1;
  while (last >= 0 && (messages[last]?.role !== "assistant" || messages[last]?.weight === 0)) last--;
  const answer = messages[last];
  if (answer === undefined) return fail(path, "no assistant turn to learn from");
  const before = messages.slice(0, last);
  if (!before.some(({ role }) => role === "user")) return fail(path, "no user turn before the answer");
  if (textOf(answer).trim() === "" && (answer.tool_calls?.length ?? 0) === 0) return fail([...path, last, "content"], "the answer is empty");
  return { draft: { messages: before, answer, ...rest } };
}

const functionCall = z.object({ name: z.string(), arguments: z.string() });
const chatMessage = messageSchema.extend({ function_call: functionCall.nullish(), tool_calls: z.array(z.looseObject({ id: z.string(), type: z.string(), function: z.looseObject({ name: z.string(), arguments: z.string() }) })).nullish(), name: z.string().nullish(), tool_call_id: z.string().nullish(), weight: z.literal([0, 1]).nullish() });
const chatRecord = z.looseObject({ messages: z.array(chatMessage).min(1), tools: z.array(z.looseObject({ type: z.string() })).nullish(), functions: z.array(z.looseObject({ name: z.string() })).nullish(), domain: domainNameSchema.nullish() });

/** https://platform.openai.com/docs/guides/fine-tuning: a line of a fine-tuning file, with tools (or the older functions) and weights. */
export const fromChat: ShapeOf = (value) => {
  const parsed = chatRecord.safeParse(value);
  if (!parsed.success) return { issues: parsed.error.issues };
  const { messages, tools, functions, domain } = parsed.data;
  const turns = messages.map(({ function_call: call, tool_calls: calls, name, tool_call_id: id, weight, ...message }, at): Message => {
    const made = call === null || call === undefined ? calls : [{ id: `call_${at}`, type: "function", function: call }];
    return { ...message, ...(made === null || made === undefined ? {} : { tool_calls: made }), ...(name === null || name === undefined ? {} : { name }), ...(id === null || id === undefined ? {} : { tool_call_id: id }), ...(weight === null || weight === undefined ? {} : { weight }) };
  });
  const declared = tools ?? functions?.map((each) => ({ type: "function", function: each }));
  return fromMessages(turns, ["messages"], { ...(declared === undefined ? {} : { tools: declared }), ...(domain === null || domain === undefined ? {} : { domain }) });
};

const alpacaRecord = z.looseObject({ instruction: z.string(), input: z.string().nullish(), output: z.string(), system: z.string().nullish(), history: z.array(z.tuple([z.string(), z.string()])).nullish(), domain: domainNameSchema.nullish() });

/** https://github.com/tatsu-lab/stanford_alpaca: instruction, input, output (GPTeacher: response); and LLaMA-Factory's system and history. */
export const fromAlpaca: ShapeOf = (value) => {
  const given = z.looseObject({ response: z.string(), output: z.undefined().optional() }).safeParse(value);
  const parsed = alpacaRecord.safeParse(given.success ? { ...given.data, output: given.data.response } : value);
  if (!parsed.success) return { issues: parsed.error.issues };
  const { instruction, input, output, system, history, domain } = parsed.data;
  if (instruction.trim() === "" && (input ?? "").trim() === "") return fail(["instruction"], "the instruction is empty");
  if (output.trim() === "") return fail(["output"], "the output is empty");
  const messages: Message[] = [
    ...(system === null || system === undefined || system === "" ? [] : [{ role: "system" as const, content: system }]),
    ...(history ?? []).flatMap(([user, assistant]): Message[] => [{ role: "user", content: user }, { role: "assistant", content: assistant }]),
    { role: "user", content: [instruction, input ?? ""].filter((part) => part.trim() !== "").join("\n\n") },
  ];
  return { draft: { messages, answer: { role: "assistant", content: output }, ...(domain === null || domain === undefined ? {} : { domain }) } };
};

const shareGptRoles: Readonly<Record<string, Message["role"] | "call">> = { system: "system", human: "user", user: "user", gpt: "assistant", assistant: "assistant", chatgpt: "assistant", bing: "assistant", bard: "assistant", model: "assistant", tool: "tool", observation: "tool", function_response: "tool", function_call: "call", tool_call: "call" };
const shareGptTurn = z.looseObject({ from: z.string().refine((from) => Object.hasOwn(shareGptRoles, from.toLowerCase()), { message: `is none of ${Object.keys(shareGptRoles).join(", ")}` }), value: z.string(), weight: z.literal([0, 1]).nullish() });
const shareGptRecord = z.looseObject({ conversations: z.array(shareGptTurn).min(1), system: z.string().nullish(), tools: z.union([z.string(), z.array(z.looseObject({}))]).nullish(), domain: domainNameSchema.nullish() });

/** ShareGPT as Vicuna's and Hermes' files have it: conversations of {from, value}. */
export const fromShareGpt: ShapeOf = (value) => {
  const parsed = shareGptRecord.safeParse(value);
  if (!parsed.success) return { issues: parsed.error.issues };
  const { conversations, system, tools, domain } = parsed.data;
  const messages: Message[] = system === null || system === undefined || system === "" ? [] : [{ role: "system", content: system }];
  let call: string | undefined;
  for (const [at, { from, value: text, weight }] of conversations.entries()) {
    const role = shareGptRoles[from.toLowerCase()] ?? "user";
    // A conversation that was saved from its middle begins with an answer; nobody knows to what.
    if (role === "assistant" && !messages.some((message) => message.role === "user")) continue;
    if (role === "call") {
      const read = functionCallOf(text);
      if (read === null) return fail(["conversations", at, "value"], "a function call must be JSON with name and arguments");
      call = `call_${at}`;
      messages.push({ role: "assistant", content: null, tool_calls: [{ id: call, type: "function", function: read }] });
    } else if (role === "tool") messages.push({ role, content: text, tool_call_id: call ?? "call_0" });
    else messages.push({ role, content: text, ...(weight === null || weight === undefined ? {} : { weight }) });
  }
  const declared = typeof tools === "string" ? toolsIn(tools) : tools;
  return fromMessages(messages, ["conversations"], { ...(declared === null || declared === undefined || declared.length === 0 ? {} : { tools: declared }), ...(domain === null || domain === undefined ? {} : { domain }) });
};

function functionCallOf(text: string): { name: string; arguments: string } | null {
  try {
    const { name, arguments: given } = z.object({ name: z.string(), arguments: z.unknown() }).parse(JSON.parse(text));
    return { name, arguments: typeof given === "string" ? given : JSON.stringify(given ?? {}) };
  } catch {
    return null;
  }
}

function toolsIn(text: string): Record<string, unknown>[] | null {
  try {
    return z.array(z.looseObject({})).parse(JSON.parse(text));
  } catch {
    return null;
  }
}

const pubMedRecord = z.looseObject({ QUESTION: z.string().min(1), CONTEXTS: z.array(z.string()).min(1), LABELS: z.array(z.string()).nullish(), MESHES: z.array(z.string()).nullish(), final_decision: z.enum(["yes", "no", "maybe"]).nullish(), LONG_ANSWER: z.string().min(1) });

/**
 * https://github.com/pubmedqa/pubmedqa, ori_pqal.json: a member for each article. The context, by its sections and with the MeSH terms, is one part of the question's
 * message, and the question the last one, so that an export can tell them apart again.
 */
export const fromPubMedQa: ShapeOf = (value) => {
  const parsed = pubMedRecord.safeParse(value);
  if (!parsed.success) return { issues: parsed.error.issues };
  const { QUESTION, CONTEXTS, LABELS, MESHES, final_decision: decision, LONG_ANSWER } = parsed.data;
  const sections = CONTEXTS.map((text, at) => (LABELS?.[at] === undefined ? text : `${LABELS[at]}: ${text}`));
  const mesh = MESHES === null || MESHES === undefined || MESHES.length === 0 ? [] : [`MeSH: ${MESHES.join("; ")}`];
  const answer = decision === null || decision === undefined ? LONG_ANSWER : `${decision[0]?.toUpperCase()}${decision.slice(1)}. ${LONG_ANSWER}`;
  return { draft: { messages: [{ role: "user", content: [{ type: "text", text: `${[...sections, ...mesh].join("\n")}\n\n` }, { type: "text", text: QUESTION }] }], answer: { role: "assistant", content: answer } } };
};

/** Names that columns have, in lower case and without accents, the most telling first. */
const columnNames = {
  question: ["question", "pergunta", "prompt", "instruction", "instrucao", "user", "usuario", "query", "input", "entrada", "texto", "text"],
  answer: ["answer", "resposta", "response", "completion", "output", "saida", "assistant", "assistente", "reply"],
  context: ["context", "contexto", "input", "entrada"],
  system: ["system", "sistema", "system_prompt"],
  domain: ["domain", "dominio"],
} as const;

export type ColumnMap = Partial<Record<keyof typeof columnNames, string>>;

/** Which column is what. @returns a sentence when question or answer can't be told */
export function mapColumns(names: readonly string[]): ColumnMap | string {
  const plain = names.map((name) => name.normalize("NFD").replace(/\p{M}/gu, "").trim().toLowerCase());
  const map: ColumnMap = {};
  const taken = new Set<number>();
  for (const role of ["answer", "question", "context", "system", "domain"] as const) {
    const at = columnNames[role].map((name) => plain.indexOf(name)).find((index) => index >= 0 && !taken.has(index));
    if (at === undefined) continue;
    taken.add(at);
    map[role] = names[at] ?? "";
  }
  const missing = (["question", "answer"] as const).filter((role) => map[role] === undefined);
  if (missing.length === 0) return map;
  return `no column for the ${missing.join(" and the ")}; the columns are ${names.map((name) => JSON.stringify(name.slice(0, 40))).join(", ").slice(0, 400) || "none"}; one of ${missing.map((role) => columnNames[role].slice(0, 6).join("/")).join(" and one of ")} is needed`;
}

/** null: nothing that a person would read. Dates in ISO 8601; one at midnight UTC is a day. */
function cellText(value: unknown): string | null {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value.trim();
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") return String(value);
  if (!(value instanceof Date) || Number.isNaN(value.getTime())) return null;
  return value.toISOString().replace("T00:00:00.000Z", "").replace(".000Z", "Z");
}

/** A row of a table. */
export function fromColumns(record: Readonly<Record<string, unknown>>, map: ColumnMap): Shaped {
  const unreadable = Object.values(map).find((name) => cellText(record[name]) === null);
  if (unreadable !== undefined) return fail([unreadable], "is no text, number or date");
  const cell = (role: keyof typeof columnNames) => (map[role] === undefined ? "" : (cellText(record[map[role]]) ?? ""));
  const [question, answer, context, system, domain] = [cell("question"), cell("answer"), cell("context"), cell("system"), cell("domain")];
  if (question === "") return fail([map.question ?? "question"], "the question is empty");
  if (answer === "") return fail([map.answer ?? "answer"], "the answer is empty");
  if (domain !== "" && !domainNameSchema.safeParse(domain).success) return fail([map.domain ?? "domain"], "is not the name of a domain");
  const content: Message["content"] = context === "" ? question : [{ type: "text", text: `${context}\n\n` }, { type: "text", text: question }];
  return { draft: { messages: [...(system === "" ? [] : [{ role: "system" as const, content: system }]), { role: "user", content }], answer: { role: "assistant", content: answer }, ...(domain === "" ? {} : { domain }) } };
}
