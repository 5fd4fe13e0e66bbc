/** Text completions in OpenAI's shapes: whole, and in chunks of the same shape. */
import { z } from "zod";
import { usageSchema, type Head, type Usage } from "../chat/completion.ts";
import type { TokenLogprob } from "../engine/protocol.ts";

/** Of answers and chunks alike. */
export const textCompletionSchema = z.looseObject({
  id: z.string().nullish(),
  created: z.number().nullish(),
  model: z.string().nullish(),
  choices: z.array(z.looseObject({ text: z.string().nullish(), index: z.int().nullish(), finish_reason: z.string().nullish() })),
  usage: usageSchema.nullish(),
});
export type TextCompletion = z.infer<typeof textCompletionSchema>;

/** OpenAI's older shape: parallel arrays. */
export interface TextLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: number[];
  readonly top_logprobs: Record<string, number>[];
  /** Characters from the start of the text. */
  readonly text_offset: number[];
}

export interface TextChoice {
  readonly index: number;
  readonly text: string;
  readonly finishReason: string | null;
  readonly logprobs?: TextLogprobs | undefined;
}

export function textCompletionOf(head: Head, choices: readonly TextChoice[], usage: Usage | undefined): TextCompletion {
  return {
    ...head,
    object: "text_completion",
    choices: choices.map(({ index, text, finishReason, logprobs }) => ({ index, text, logprobs: logprobs ?? null, finish_reason: finishReason })),
    ...(usage === undefined ? {} : { usage }),
  };
}

/** @param offset of the first of these tokens in the text */
export function textLogprobs(tokens: readonly TokenLogprob[], offset: number): TextLogprobs {
  const found: TextLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  let at = offset;
  for (const { token, logprob, top_logprobs: top } of tokens) {
    found.tokens.push(token);
    found.token_logprobs.push(logprob);
    found.top_logprobs.push(Object.fromEntries(top.map((each) => [each.token, each.logprob])));
    found.text_offset.push(at);
    at += token.length;
  }
  return found;
}
