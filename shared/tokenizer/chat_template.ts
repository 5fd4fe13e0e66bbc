/**
 * A folder's chat template, rendered as transformers renders it, and where in the text the assistant speaks: between the template's own
 * `{% generation %}` marks where it has them, else found by what the template writes for the conversation's beginnings.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { EverloraError, messageOf } from "../errors/errors.ts";
import { tokenizerFault as fault, type OpenedTokenizer } from "./hub.ts";

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Where an assistant's turn stands in a rendered text, in UTF-16 units. */
export interface Turn {
  readonly start: number;
  /** Where what was said ends; the turn's end token stands behind it. null: the template made something else of it. */
  readonly saidEnd: number | null;
  /** Behind the turn's last sign, or null where nobody knows. */
  readonly end: number | null;
  /** Start and end are the template's own marks. */
  readonly marked: boolean;
}

export interface ChatTemplate {
  /** @param generate ends with what makes the model answer @throws EverloraError invalid_request when the template refuses the messages */
  render(messages: readonly ChatMessage[], generate: boolean): string;
  /** A whole conversation, and the assistant's part of it. @throws as render */
  conversation(messages: readonly ChatMessage[]): { readonly text: string; readonly turns: readonly Turn[] };
}

const marks = /([ \t]*)\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}(\n?)/g;

/**
 * @param specials names and texts of the special tokens, which templates write themselves
 * @throws EverloraError invalid_model_folder when there is no template, or one that can't be read
 */
export async function loadChatTemplate(folder: string, given: OpenedTokenizer["config"]["chat_template"], specials: Readonly<Record<string, string>>): Promise<ChatTemplate> {
  const source = await readSource(folder, given);
  const plain = parse(folder, source.replace(marks, replaceMark("", "")));
  const marked = source.search(marks) < 0 ? null : parse(folder, source.replace(marks, replaceMark("everlora_begin", "everlora_end")));
  const fill = (template: Template, messages: readonly ChatMessage[], generate: boolean, more: Record<string, string> = {}): string => {
    try {
      // transformers names tools and documents even where there are none, and templates ask `tools is none`.
      return template.render({ messages: messages.map(({ role, content }) => ({ role, content })), tools: null, documents: null, add_generation_prompt: generate, bos_token: "", eos_token: "", ...specials, ...more });
    } catch (error) {
      throw new EverloraError("invalid_request", `The base model's chat template refuses these messages: ${messageOf(error)}`, { param: "messages", cause: error });
    }
  };
  // Gemma 2 and some others know no system role. What it says goes before the first question then, as their makers advise.
  const folds = !takesSystem((messages) => fill(plain, messages, true));
  const prepare = (messages: readonly ChatMessage[]) => (folds ? foldSystem(messages) : messages);
  const render = (messages: readonly ChatMessage[], generate: boolean) => fill(plain, messages, generate);
  return {
    render: (messages, generate) => render(prepare(messages), generate),
    conversation: (messages) => {
      const prepared = prepare(messages);
      const text = render(prepared, false);
      return { text, turns: marked === null ? searchTurns(prepared, text, render) : markedTurns(prepared, text, (more) => fill(marked, prepared, false, more)) };
    },
  };
}

function parse(folder: string, source: string): Template {
  try {
    return new Template(source);
  } catch (error) {
    throw fault(folder, `the chat template cannot be read: ${messageOf(error)}`);
  }
}

/** A mark becomes the output of a variable; the white space that a block tag takes with it (trim_blocks, lstrip_blocks, the dashes) goes as well. */
function replaceMark(begin: string, end: string) {
  return (_all: string, before: string, left: string, closing: string | undefined, right: string, _newline: string, offset: number, source: string): string => {
    const name = closing === undefined ? begin : end;
    const ownLine = offset === 0 || source[offset - 1] === "\n";
    const kept = ownLine && left !== "+" ? "" : before;
    // An empty output with the same dashes takes the same white space; the line feed behind a block tag is gone in any case.
    return `${kept}{{${left === "-" ? "-" : ""} ${name === "" ? "''" : name} ${right === "-" ? "-" : ""}}}`;
  };
}

function takesSystem(render: (messages: readonly ChatMessage[]) => string): boolean {
  try {
    render([{ role: "system", content: "a" }, { role: "user", content: "b" }]);
    return true;
  } catch {
    // What it refuses may be something else; then folding is no worse.
    return false;
  }
}

function foldSystem(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const [first, second, ...rest] = messages;
  if (first?.role !== "system") return messages;
  if (second?.role !== "user") return [{ role: "user", content: first.content }, ...messages.slice(1)];
  return [{ role: "user", content: `${first.content}\n\n${second.content}` }, ...rest];
}

/** Renders once more with marks that no message contains, and reads off where they are. */
function markedTurns(messages: readonly ChatMessage[], text: string, render: (more: Record<string, string>) => string): Turn[] {
  let number = 0;
  const marker = (kind: string) => `\u{e000}${kind}${number}\u{e001}`;
  while (messages.some(({ content, role }) => [content, role].some((part) => part.includes(marker("<")) || part.includes(marker(">"))))) number++;
  const [begin, end] = [marker("<"), marker(">")];
  const turns: Turn[] = [];
  let [plain, open] = ["", -1];
  for (const part of render({ everlora_begin: begin, everlora_end: end }).split(new RegExp(`(${begin}|${end})`, "u"))) {
    if (part === begin) open = plain.length;
    else if (part === end) turns.push({ start: open, saidEnd: null, end: plain.length, marked: true });
    else plain += part;
  }
  // A template that does something with its own output would show other text with marks in it.
  return plain === text ? turns : [];
}

/**
 * A turn lies between the prompt that asked for it and what the conversation up to it gives. Some templates write a conversation's beginning otherwise
 * when it goes on (Qwen 3 leaves out what was thought, Mistral moves the system message); then the turn's content is looked for.
 */
function searchTurns(messages: readonly ChatMessage[], text: string, render: (messages: readonly ChatMessage[], generate: boolean) => string): Turn[] {
  const beginning = (count: number, generate: boolean): number | null => {
    try {
      const part = render(messages.slice(0, count), generate);
      return text.startsWith(part) ? part.length : null;
    } catch {
      return null;
    }
  };
  const after = (content: string, from: number): number | null => {
    const said = content.trim();
    const at = said === "" ? -1 : text.indexOf(said, from);
    return at < 0 ? null : at + said.length;
  };
  const turns: Turn[] = [];
  let cursor = 0;
  messages.forEach(({ role, content }, at) => {
    if (role === "assistant") {
      const found = after(content, cursor);
      const start = atLeast(beginning(at, true), cursor) ?? (found === null ? null : found - content.trim().length);
      if (start === null) return;
      const turn = { start, saidEnd: after(content, start), end: atLeast(beginning(at + 1, false), start), marked: false };
      turns.push(turn);
      cursor = turn.end ?? turn.saidEnd ?? start;
    } else cursor = Math.max(cursor, beginning(at + 1, false) ?? after(content, cursor) ?? cursor);
  });
  return turns.filter(({ saidEnd, end }) => saidEnd !== null || end !== null);
}

const atLeast = (value: number | null, least: number): number | null => (value === null || value < least ? null : value);

async function readSource(folder: string, given: OpenedTokenizer["config"]["chat_template"]): Promise<string> {
  // Newer folders keep it in a file of its own, which counts where both are there.
  const own = await readFile(join(folder, "chat_template.jinja"), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw fault(folder, `chat_template.jinja cannot be read: ${error.message}`);
  });
  if (own !== null) return own;
  if (typeof given === "string") return given;
  const named = given?.find(({ name }) => name === "default") ?? given?.[0];
  if (named !== undefined) return named.template;
  throw fault(folder, "there is no chat template, neither in tokenizer_config.json nor in chat_template.jinja");
}
