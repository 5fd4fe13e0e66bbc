/**
 * Other programs' caches, a row a layout: how its keys look, which Redis type they have, which fields are read, and what they mean. A new layout is a new row.
 * Key and type are looked at first, fields second, so that nothing is read that is nobody's cache. Rows are tried in order.
 */
import { z } from "zod";
import type { Message } from "../../../shared/events/conversation.ts";
import { langchainAnswer, langchainPrompt, litellmAnswer, parseJson } from "./meanings.ts";

export interface Pair {
  readonly messages: readonly Message[];
  readonly answer: Message;
  readonly model?: string;
  readonly finishReason?: string;
  /** When it was stored, milliseconds since 1970. */
  readonly at?: number;
}

/** "no_prompt": the layout keeps a hash where the prompt was. null: the values are not this layout's, or damaged. */
export type Meaning = Pair | "no_prompt" | null;

export interface Layout {
  readonly name: string;
  readonly about: string;
  readonly type: "hash" | "string" | "json";
  readonly key: RegExp;
  /** Fields of a hash that are read; vectors are not among them. */
  readonly fields: readonly string[];
  /** Whether these values are this program's. @param values of the fields that are there; of a string or JSON its value under "value" */
  readonly fits: (values: Values) => boolean;
  readonly meaning: (values: Values) => Meaning;
}

export type Values = Readonly<Record<string, string | undefined>>;

const pair = (messages: readonly Message[] | null, answer: ReturnType<typeof litellmAnswer>, at?: number): Meaning => {
  if (messages === null || answer === null) return null;
  const time = at ?? answer.at;
  return { messages, answer: answer.answer, ...(answer.model === undefined ? {} : { model: answer.model }), ...(answer.finishReason === undefined ? {} : { finishReason: answer.finishReason }), ...(time === undefined ? {} : { at: time }) };
};

const secondsToMs = (text: string | undefined) => (text !== undefined && Number.isFinite(Number(text)) && Number(text) > 0 ? Math.round(Number(text) * 1_000) : undefined);
const userSaid = (text: string | undefined): Message[] | null => (text === undefined || text.trim() === "" ? null : [{ role: "user", content: text }]);
const isLangchain = (text: string | undefined) => text !== undefined && /^\[\s*"?\{\\?"lc\\?":/.test(text);
const isLitellm = (text: string | undefined) => text !== undefined && /^\{\s*['"](?:timestamp|response)['"]\s*:/.test(text);

const hash32 = "[0-9a-f]{32}";
const hash64 = "[0-9a-f]{64}";
const redisVlKey = new RegExp(`^.+:${hash64}$`);
const redisVlFields = ["entry_id", "prompt", "response", "metadata", "inserted_at", "litellm_cache_key"];

const gptCacheQuestion = z.looseObject({ question: z.string(), deleted: z.number().nullish(), create_on: z.string().nullish(), answers: z.array(z.looseObject({ answer: z.string(), answer_type: z.number() })) });

export const layouts: readonly Layout[] = [
  {
    name: "litellm-semantic",
    about: "LiteLLM redis-semantic (on RedisVL) and valkey-semantic: the prompt is all messages' texts without roles, so it counts as one question",
    type: "hash",
    key: new RegExp(`^.+:${hash64}(?::[0-9a-f-]{32,36})?$|^litellm:`),
    fields: redisVlFields,
    fits: ({ prompt, response, litellm_cache_key: key }) => prompt !== undefined && (key !== undefined || isLitellm(response)),
    meaning: ({ prompt, response, inserted_at: at }) => pair(userSaid(prompt), litellmAnswer(response ?? ""), secondsToMs(at)),
  },
  {
    name: "langchain-redisvl",
    about: "langchain-redis RedisSemanticCache (on RedisVL)",
    type: "hash",
    key: redisVlKey,
    fields: redisVlFields,
    fits: ({ prompt, response }) => prompt !== undefined && isLangchain(response),
    meaning: ({ prompt, response, inserted_at: at }) => pair(langchainPrompt(prompt ?? ""), langchainAnswer(response ?? ""), secondsToMs(at)),
  },
  {
    name: "redisvl",
    about: "RedisVL SemanticCache",
    type: "hash",
    key: redisVlKey,
    fields: redisVlFields,
    fits: ({ entry_id: id, prompt, response }) => id !== undefined && prompt !== undefined && response !== undefined,
    meaning: ({ prompt, response, inserted_at: at }) => pair(userSaid(prompt), response === undefined || response.trim() === "" ? null : { answer: { role: "assistant", content: response } }, secondsToMs(at)),
  },
  {
    name: "langchain-community-semantic",
    about: "langchain_community RedisSemanticCache",
    type: "hash",
    key: new RegExp(`^doc:cache:${hash32}:${hash32}$`),
    fields: ["prompt", "llm_string", "return_val"],
    fits: ({ prompt, return_val: value }) => prompt !== undefined && value !== undefined,
    meaning: ({ prompt, return_val: value }) => pair(langchainPrompt(prompt ?? ""), langchainAnswer(value ?? "")),
  },
  {
    name: "langchain-community-exact",
    about: "langchain_community RedisCache: the prompt is only a hash",
    type: "hash",
    key: new RegExp(`^${hash32}$`),
    fields: ["0"],
    fits: (values) => values["0"]?.startsWith('{"lc":') === true,
    meaning: () => "no_prompt",
  },
  {
    name: "langchain-exact",
    about: "langchain-redis RedisCache: the prompt is only a hash",
    type: "json",
    key: new RegExp(`^.+:${hash32}:${hash32}$`),
    fields: [],
    fits: ({ value }) => value !== undefined && /"lc"\s*:/.test(value.slice(0, 200)),
    meaning: () => "no_prompt",
  },
  {
    name: "litellm-exact",
    about: "LiteLLM redis: the prompt is only a hash",
    type: "string",
    key: new RegExp(`^(?:.+:)?${hash64}$`),
    fields: [],
    fits: ({ value }) => isLitellm(value),
    meaning: ({ value }) => (litellmAnswer(value ?? "") === null ? null : "no_prompt"),
  },
  {
    name: "langchain-js",
    about: "LangChain JS RedisCache: the prompt is only a hash",
    type: "string",
    key: new RegExp(`^(?:[0-9a-f]{40}|${hash64})$`),
    fields: [],
    fits: ({ value }) => value?.startsWith('{"text":') === true,
    meaning: ({ value }) => (z.looseObject({ text: z.string() }).safeParse(parseJson(value ?? "")).success ? "no_prompt" : null),
  },
  {
    name: "gptcache",
    about: "GPTCache's scalar store: the prompt is the last message only",
    type: "json",
    key: /^.+:questions:[^:]+$/,
    fields: [],
    fits: ({ value }) => value !== undefined && value.includes('"question"') && value.includes('"answers"'),
    meaning: ({ value }) => {
      const parsed = gptCacheQuestion.safeParse(parseJson(value ?? ""));
      // answer_type 0 is text; pictures and the like teach nothing here. A question that was evicted is still there, marked.
      const answer = parsed.success && (parsed.data.deleted ?? 0) === 0 ? parsed.data.answers.find(({ answer_type: type }) => type === 0)?.answer : undefined;
      const at = parsed.success ? Date.parse(`${parsed.data.create_on ?? ""}Z`) : Number.NaN;
      return pair(parsed.success ? userSaid(parsed.data.question) : null, answer === undefined || answer === "" ? null : { answer: { role: "assistant", content: answer } }, Number.isNaN(at) ? undefined : at);
    },
  },
];
