/** The body of /v1/completions, checked and put into one shape: text to go on with, without a chat template. */
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { callerOf } from "../../../shared/events/caller.ts";
import { modelOf, paramOf } from "../chat/request.ts";
import { checkTokenLimit, readSampling, samplingShape, tokenLimit, type Sampling } from "../chat/sampling.ts";

const bodySchema = z.looseObject({
  ...samplingShape,
  model: z.string().max(256).nullish(),
  adapter_id: z.string().max(256).nullish(),
  prompt: z.union([z.string(), z.array(z.string()).min(1).max(128), z.array(z.int().min(0)).min(1), z.array(z.array(z.int().min(0)).min(1)).min(1).max(128)]),
  suffix: z.string().nullish(),
  max_tokens: tokenLimit,
  logprobs: z.int().min(0).max(20).nullish(),
  echo: z.boolean().nullish(),
  best_of: z.int().min(1).max(128).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  user: z.string().max(512).nullish(),
});
export type TextBody = z.infer<typeof bodySchema>;

export interface TextRequest {
  readonly body: TextBody;
  readonly model: string;
  /** One or several, each answered by itself; null when they came as token ids, which only their own tokenizer knows. */
  readonly prompts: readonly string[] | null;
  readonly sampling: Sampling;
  readonly maxTokens: number;
  readonly logprobs: number | null;
  readonly echo: boolean;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** SHA-256 over key and end user, hex. */
  readonly caller: string;
}

/** What OpenAI takes where nobody says. */
const usualTokens = 16;

/** @param keyHash SHA-256 of the API key. @throws EverloraError invalid_request that names the field */
export function parseTextRequest(raw: unknown, keyHash: string, limits: Settings): TextRequest {
  const parsed = bodySchema.safeParse(raw);
  if (!parsed.success) throw new EverloraError("invalid_request", describeIssues(parsed.error.issues), { ...paramOf(parsed.error.issues[0]?.path) });
  const body = parsed.data;
  const prompts = typeof body.prompt === "string" ? [body.prompt] : body.prompt.every((each) => typeof each === "string") ? body.prompt : null;
  const characters = prompts?.reduce((sum, each) => sum + each.length, 0) ?? 0;
  if (characters > limits.MAX_PROMPT_CHARACTERS) throw new EverloraError("context_length_exceeded", `prompt: ${characters} characters; at most ${limits.MAX_PROMPT_CHARACTERS} are taken.`, { param: "prompt", hint: "Shorten the prompt, or raise MAX_PROMPT_CHARACTERS." });
  const sampling = readSampling(body, limits);
  const choices = sampling.n * (prompts?.length ?? 1);
  if (choices > limits.MAX_CHOICES) throw new EverloraError("invalid_request", `prompt: ${choices} answers were asked for; at most ${limits.MAX_CHOICES} are given.`, { param: "prompt", hint: "Send fewer prompts at once, or raise MAX_CHOICES." });
  checkTokenLimit(body.max_tokens ?? undefined, "max_tokens", limits);
  return {
    body,
    model: modelOf(body),
    prompts,
    sampling,
    maxTokens: body.max_tokens ?? usualTokens,
    logprobs: body.logprobs ?? null,
    echo: body.echo ?? false,
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    caller: callerOf(keyHash, body.user),
  };
}

/** What the engine can't do with such a request, or null. */
export function engineTextLacks({ prompts, body, echo, logprobs, sampling }: TextRequest): EverloraError | null {
  const lack = (param: string, what: string) => new EverloraError("invalid_request", `${param}: everlora's own engine can't ${what}.`, { param, hint: "Leave the field out, or set UPSTREAM_URL to a server that can." });
  if (prompts === null) return lack("prompt", "read token ids");
  if (prompts.includes("")) return lack("prompt", "go on with an empty prompt");
  if (typeof body.suffix === "string" && body.suffix !== "") return lack("suffix", "fill in between two texts");
  if (typeof body.best_of === "number" && body.best_of > sampling.n) return lack("best_of", "choose among more answers than n");
  if (echo && logprobs !== null) return lack("echo", "give the log-probabilities of the prompt");
  return null;
}
