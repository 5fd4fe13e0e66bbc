/**
 * Rows as the files of other programs: OpenAI chat lines, Alpaca, and the delimited text of the PubMedQA pipelines. A table: a new format is a new row. Written
 * in constant memory, to a temporary name first: the file is whole or not there.
 */
import { textOf, type Message } from "../events/conversation.ts";
import { createFileAtomic } from "../files/atomic.ts";
import type { Row } from "./row.ts";
import { readRows, rowsPath } from "./rows.ts";
import { isInWindow, type Window } from "./window.ts";

export interface ExportFormat {
  readonly about: string;
  readonly before: string;
  readonly between: string;
  readonly after: string;
  /** null: this format can't say it (a tool call, for example). */
  readonly text: (row: Row) => string | null;
}

const answerOf = (row: Row) => row.messages.at(-1) ?? { role: "assistant", content: "" };
const callsTools = (row: Row) => row.messages.some(({ role, tool_calls: calls }) => role === "tool" || role === "function" || (calls?.length ?? 0) > 0);

export const exportFormats = {
  chat: {
    about: "OpenAI's fine-tuning lines, with tools",
    before: "",
    between: "\n",
    after: "\n",
    text: ({ messages, tools }) => JSON.stringify({ messages, ...(tools === undefined ? {} : { tools }) }),
  },
  alpaca: {
    about: "a JSON array of instruction, input and output, with system and history where there are any",
    before: "[\n",
    between: ",\n",
    after: "\n]\n",
    text: (row) => (callsTools(row) ? null : JSON.stringify(alpacaOf(row))),
  },
  delimited: {
    about: "[|Contexto|]…[|eContexto|], [|Pergunta|] and [|Resposta|]",
    before: "",
    between: "\n\n",
    after: "\n",
    text: (row) => (callsTools(row) ? null : delimitedOf(row)),
  },
} as const satisfies Record<string, ExportFormat>;

export type ExportName = keyof typeof exportFormats;

function alpacaOf({ messages }: Row): Record<string, unknown> {
  const system = messages.filter(({ role }) => role === "system" || role === "developer").map(textOf).join("\n\n");
  const turns = messages.filter(({ role }) => role === "user" || role === "assistant");
  const question = turns.at(-2);
  const history: [string, string][] = [];
  for (let at = 0; at + 1 < turns.length - 2; at += 2) history.push([textOf(turns[at] as Message), textOf(turns[at + 1] as Message)]);
  return { instruction: question === undefined ? "" : textOf(question), input: "", output: textOf(turns.at(-1) as Message), ...(system === "" ? {} : { system }), ...(history.length === 0 ? {} : { history }) };
}

const delimiter = /\[\|(?:e?Contexto|Pergunta|Resposta)\|\]/g;
/** What a text says must not look like the frame that it stands in. */
const plain = (text: string) => text.replace(delimiter, (mark) => mark.replaceAll("|", "")).trim();

/** The context is what came before the question: system prompt, earlier turns, and all parts of the question's message but the last. */
function delimitedOf(row: Row): string {
  const question = row.messages.findLast(({ role }) => role === "user");
  const earlier = row.messages.slice(0, -1).filter((message) => message !== question).map(textOf);
  const parts = Array.isArray(question?.content) ? question.content.map((part) => textOf({ role: "user", content: [part] })) : [question === undefined ? "" : textOf(question)];
  const context = [...earlier, ...parts.slice(0, -1)].map(plain).filter((text) => text !== "");
  return [...(context.length === 0 ? [] : [`[|Contexto|]${context.join("\n\n")}[|eContexto|]`]), `[|Pergunta|]${plain(parts.at(-1) ?? "")}`, `[|Resposta|]${plain(textOf(answerOf(row)))}`].join("\n");
}

export interface ExportRequest {
  readonly trainingData: string;
  readonly domain: string;
  readonly format: ExportName;
  readonly window: Window;
  /** undefined: both. */
  readonly split?: Row["split"];
}

export interface Exported {
  readonly rows: number;
  /** Rows that this format can't say. */
  readonly skipped: number;
}

/** The text in pieces; each id once, the newest. */
export async function* exportText({ trainingData, domain, format, window, split }: ExportRequest, counts: { rows: number; skipped: number }): AsyncGenerator<string> {
  const { before, between, after, text } = exportFormats[format];
  const path = rowsPath(trainingData, domain);
  const last = new Map<string, number>();
  let line = 0;
  for await (const row of readRows(path)) last.set(row.id.slice(0, 16), ++line);
  line = 0;
  yield before;
  for await (const row of readRows(path)) {
    if (last.get(row.id.slice(0, 16)) !== ++line || row.domain !== domain || !isInWindow(row, window) || (split !== undefined && row.split !== split)) continue;
    const said = text(row);
    if (said === null) counts.skipped++;
    else yield `${counts.rows++ === 0 ? "" : between}${said}`;
  }
  yield counts.rows === 0 && before === "" ? "" : after;
}

/** @throws what the disk says; then there is no new file, and an old one is as it was */
export async function exportFile(request: ExportRequest, path: string): Promise<Exported> {
  const counts = { rows: 0, skipped: 0 };
  await createFileAtomic(path, async (file) => {
    let pending = "";
    for await (const text of exportText(request, counts)) {
      pending += text;
      if (pending.length < 1 << 20) continue;
      await file.appendFile(pending);
      pending = "";
    }
    await file.appendFile(pending);
  });
  return counts;
}
