/**
 * Text ↔ token ids and the chat template, for serving and training alike: both must see the same ids. Hugging Face's own JavaScript
 * implementations do the work (tokenizers, jinja); this file joins them and says which tokens the assistant spoke.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { openTokenizer, tokenizerFault as fault, vocabularyOf, type OpenedTokenizer } from "./hub.ts";
import { tokenBytes } from "./token_bytes.ts";

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface MarkedTokens {
  readonly ids: readonly number[];
  /** True where the token is part of what an assistant said, its end token included. */
  readonly spoken: readonly boolean[];
}

export interface Tokenizer {
  readonly vocabularySize: number;
  /** Ids after which an answer is over. */
  readonly endTokens: readonly number[];
  encode(text: string): number[];
  /** Special tokens are left out. */
  decode(ids: readonly number[]): string;
  /** The bytes that each token adds to a text, by id; null: a special token, or none. */
  bytes(): readonly (Uint8Array | null)[];
  /** The prompt that makes the model answer. */
  prompt(messages: readonly ChatMessage[]): number[];
  /** A whole conversation, with the assistant's tokens marked. */
  conversation(messages: readonly ChatMessage[]): MarkedTokens;
}

/** @throws EverloraError invalid_model_folder when a file is missing or no chat template is there */
export async function loadTokenizer(folder: string, endTokens: readonly number[] = []): Promise<Tokenizer> {
  const { hub, config, vocabularySize, specials } = await openTokenizer(folder);
  const template = new Template(await chatTemplate(folder, config.chat_template));
  const names = { bos_token: "", eos_token: "", ...specials };
  // transformers names tools and documents even where there are none, and templates ask `tools is none`.
  const render = (messages: readonly ChatMessage[], generate: boolean) => template.render({ messages: messages.map(({ role, content }) => ({ role, content })), tools: null, documents: null, add_generation_prompt: generate, ...names });
  // The template writes its special tokens itself; the tokenizer must not add a second beginning.
  const encode = (text: string) => hub.encode(text, { add_special_tokens: false }).ids;
  const eos = names.eos_token === "" ? undefined : hub.token_to_id(names.eos_token);
  const ends = [...new Set([...endTokens, ...(eos === undefined ? [] : [eos])])];
  let bytes: readonly (Uint8Array | null)[] | undefined;
  return {
    vocabularySize,
    bytes: () => (bytes ??= tokenBytes(vocabularyOf(hub))),
    endTokens: ends,
    encode,
    decode: (ids) => (ids.length === 0 ? "" : hub.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false })),
    prompt: (messages) => encode(render(messages, true)),
    conversation: (messages) => markAnswers(messages, ends, (list, generate) => encode(render(list, generate))),
  };
}

/**
 * An assistant's tokens are those between the prompt that asked for the turn and the turn's end token; what a template writes behind that (ChatML: a
 * line feed) nobody says. Where a template makes the ids of a prefix differ from the prefix of the ids, the longest common part counts as prompt: a
 * token too few is trained on, never one too many.
 */
function markAnswers(messages: readonly ChatMessage[], ends: readonly number[], ids: (messages: readonly ChatMessage[], generate: boolean) => number[]): MarkedTokens {
  const whole = ids(messages, false);
  const spoken = whole.map(() => false);
  messages.forEach((message, at) => {
    if (message.role !== "assistant") return;
    const from = commonPrefix(whole, ids(messages.slice(0, at), true));
    const to = commonPrefix(whole, ids(messages.slice(0, at + 1), false));
    const end = whole.slice(from, to).findLastIndex((id) => ends.includes(id));
    spoken.fill(true, from, end < 0 ? to : from + end + 1);
  });
  return { ids: whole, spoken };
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

async function chatTemplate(folder: string, given: OpenedTokenizer["config"]["chat_template"]): Promise<string> {
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
