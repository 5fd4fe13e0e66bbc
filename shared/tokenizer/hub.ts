/**
 * tokenizer.json and tokenizer_config.json of a Hugging Face folder, opened with Hugging Face's own JavaScript implementation. Not responsible for what
 * is made of the ids (tokenizer.ts: conversations; shared/engine/embedder.ts: sentences).
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { EverloraError, describeIssues, messageOf } from "../errors/errors.ts";
import type { Vocabulary } from "./token_bytes.ts";

const special = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
/** Those that transformers hands to a template. */
const specials = { bos_token: special, eos_token: special, unk_token: special, pad_token: special, sep_token: special, cls_token: special, mask_token: special };
const configSchema = z.looseObject({
  chat_template: z.union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))]).nullish(),
  model_max_length: z.number().positive().nullish(),
  ...specials,
});

const id = z.int().nonnegative().max(1 << 24);
const part = z.looseObject({ type: z.string() }).nullish();
/** What the library takes for granted. Words and merges are looked at by hand: there may be half a million. */
const tokenizerSchema = z.looseObject({
  added_tokens: z.array(z.looseObject({ id, content: z.string().min(1) })).default([]),
  normalizer: part,
  pre_tokenizer: part,
  post_processor: part,
  decoder: part,
  model: z.looseObject({
    vocab: z.custom<Record<string, number>>((value) => typeof value === "object" && value !== null && (Array.isArray(value) ? value.every((entry) => Array.isArray(entry) && typeof entry[0] === "string" && typeof entry[1] === "number") : Object.values(value).every((at) => Number.isInteger(at) && at >= 0 && at <= 1 << 24)), "must give each word its id"),
    merges: z.custom<unknown[]>((value) => Array.isArray(value) && value.every((merge) => typeof merge === "string" || (Array.isArray(merge) && merge.length === 2 && merge.every((word) => typeof word === "string"))), "must be pairs of words").optional(),
  }),
});

export interface OpenedTokenizer {
  readonly hub: HubTokenizer;
  readonly config: z.infer<typeof configSchema>;
  /** The highest id, plus one. */
  readonly vocabularySize: number;
  /** The special tokens' texts by name (bos_token, …), those that are there. */
  readonly specials: Readonly<Record<string, string>>;
}

/** @throws EverloraError invalid_model_folder naming the file that is missing or wrong */
export async function openTokenizer(folder: string): Promise<OpenedTokenizer> {
  const tokenizerJson = await readJson(folder, "tokenizer.json");
  const parsed = configSchema.safeParse(await readJson(folder, "tokenizer_config.json"));
  if (!parsed.success) throw tokenizerFault(folder, `tokenizer_config.json: ${describeIssues(parsed.error.issues, "the file").slice(0, 500)}`);
  const checked = tokenizerSchema.safeParse(tokenizerJson);
  if (!checked.success) throw tokenizerFault(folder, `tokenizer.json: ${describeIssues(checked.error.issues, "the file").slice(0, 500)}`);
  const config = parsed.data;
  const named = Object.keys(specials).flatMap((name): [string, string][] => (config[name] == null ? [] : [[name, textOf(config[name] as z.infer<typeof special>)]]));
  try {
    const hub = new HubTokenizer(checked.data, config);
    let highest = -1;
    for (const id of hub.get_vocab(true).values()) highest = Math.max(highest, id);
    return { hub, config, vocabularySize: highest + 1, specials: Object.fromEntries(named) };
  } catch (error) {
    throw tokenizerFault(folder, `tokenizer.json cannot be used: ${messageOf(error)}`);
  }
}

/** Every token with its id, and which were added to the model's own. */
export function vocabularyOf(hub: HubTokenizer): Vocabulary {
  const added = hub.get_added_tokens_decoder();
  return { tokens: hub.get_vocab(true), added: new Set(added.keys()), special: new Set([...added].filter(([, { special }]) => special).map(([id]) => id)) };
}

async function readJson(folder: string, name: string): Promise<unknown> {
  const text = await readFile(join(folder, name), "utf8").catch((error: NodeJS.ErrnoException) => {
    throw tokenizerFault(folder, error.code === "ENOENT" ? `${name} is missing` : `${name} cannot be read: ${error.message}`);
  });
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw tokenizerFault(folder, `${name} is not JSON: ${messageOf(error)}`);
  }
}

const textOf = (token: z.infer<typeof special>): string => (typeof token === "string" ? token : (token?.content ?? ""));
export const tokenizerFault = (folder: string, message: string) => new EverloraError("invalid_model_folder", `${folder}: ${message}`, { param: "BASE_MODEL" });
