/**
 * Text ↔ token ids and the chat template, for serving and training alike: both must see the same ids. Hugging Face's own JavaScript
 * implementations do the work (tokenizers, jinja); this file joins them and says which tokens the assistant spoke.
 */
import { messageOf } from "../errors/errors.ts";
import { loadChatTemplate, type ChatMessage, type Turn } from "./chat_template.ts";
import { openTokenizer, tokenizerFault, vocabularyOf } from "./hub.ts";
import { tokenBytes } from "./token_bytes.ts";

export type { ChatMessage } from "./chat_template.ts";

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
  /** A token's own text, also of a special one. */
  name(id: number): string;
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
  const template = await loadChatTemplate(folder, config.chat_template, specials);
  // The template writes its special tokens itself; the tokenizer must not add a second beginning.
  const encode = (text: string) => guard(() => hub.encode(text, { add_special_tokens: false }).ids);
  /** The library meets some faults of tokenizer.json only when it comes to work with them. */
  const guard = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw tokenizerFault(folder, `tokenizer.json cannot be used: ${messageOf(error)}`);
    }
  };
  const eos = specials["eos_token"] === undefined ? undefined : hub.token_to_id(specials["eos_token"]);
  const ends = [...new Set([...endTokens, ...(eos === undefined ? [] : [eos])])];
  let bytes: readonly (Uint8Array | null)[] | undefined;
  return {
    vocabularySize,
    name: (id) => hub.decode([id], { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
    bytes: () => (bytes ??= tokenBytes(vocabularyOf(hub))),
    endTokens: ends,
    encode,
    decode: (ids) => (ids.length === 0 ? "" : guard(() => hub.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false }))),
    prompt: (messages) => encode(template.render(messages, true)),
    conversation: (messages) => {
      const { text, turns } = template.conversation(messages);
      return markAnswers(text, turns, ends, encode);
    },
  };
}

/**
 * What the assistant spoke: with the template's own marks, every token that has a part between them, as in transformers; without them, up to the token
 * that ends the turn. What a template writes behind that (ChatML: a line feed) nobody says.
 */
function markAnswers(text: string, turns: readonly Turn[], ends: readonly number[], encode: (text: string) => number[]): MarkedTokens {
  const ids = encode(text);
  const spoken = ids.map(() => false);
  /** How many tokens stand before a position; one that reaches over it is counted by `over`. */
  const before = (position: number): { count: number; over: number } => {
    if (position >= text.length) return { count: ids.length, over: 0 };
    const part = encode(text.slice(0, position));
    const count = commonPrefix(ids, part);
    return { count, over: count < part.length ? 1 : 0 };
  };
  const isEnd = (id: number) => ends.includes(id);
  for (const { start, saidEnd, end, marked } of turns) {
    const from = before(start).count;
    const limit = end === null ? null : before(end);
    if (marked || saidEnd === null) {
      const to = limit === null ? from : limit.count + (marked ? limit.over : 0);
      const last = marked ? -1 : ids.slice(from, to).findLastIndex(isEnd);
      spoken.fill(true, from, last < 0 ? to : from + last + 1);
      continue;
    }
    const said = before(saidEnd).count;
    // An end token some white space behind what was said; where the turn's end is not known, not farther than that.
    const behind = ids.slice(said, limit?.count ?? said + 3).findIndex(isEnd);
    spoken.fill(true, from, behind < 0 ? (limit?.count ?? said) : said + behind + 1);
  }
  return { ids, spoken };
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
