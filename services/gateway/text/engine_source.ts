/** Text completions by the engine: each prompt as it stands, n answers to each, in the order prompt by prompt as OpenAI numbers them. */
import { EverloraError } from "../../../shared/errors/errors.ts";
import { usageOf, type Head, type Usage } from "../chat/completion.ts";
import { engineSampling } from "../chat/sampling.ts";
import { generateChoices } from "../engine/choices.ts";
import type { Engine, GenerateRequest } from "../engine/engine.ts";
import type { TokenLogprob } from "../engine/protocol.ts";
import { textCompletionOf, textLogprobs, type TextCompletion } from "./completion.ts";
import type { TextRequest } from "./request.ts";
import type { TextSource } from "./source.ts";

export function engineTextSource(engine: Pick<Engine, "generate">, request: TextRequest, generation: string | null, contextLength: number, head: Head): TextSource {
  const { prompts, sampling, logprobs } = request;
  const requests = (prompts ?? []).flatMap((prompt) => Array.from({ length: sampling.n }, (_, index): GenerateRequest => ({ ...engineSampling(sampling, index), prompt, generation, maxTokens: Math.min(request.maxTokens, contextLength), caller: request.caller, ...(logprobs === null ? {} : { logprobs }) })));
  const echoOf = (index: number) => (request.echo ? (requests[index]?.prompt ?? "") : "");

  async function* pieces(signal: AbortSignal) {
    const written = requests.map(() => 0);
    const counts = new Map<number, { prompt: number; completion: number; cached: number }>();
    for await (const { index, event } of generateChoices(engine, requests, signal)) {
      if (event.type === "token") {
        const offset = written[index] ?? 0;
        const text = offset === 0 ? echoOf(index) + event.text : event.text;
        written[index] = offset + text.length;
        yield { index, text, finishReason: null, logprobs: event.logprobs, offset, usage: undefined };
      } else if (event.finishReason !== "abort") {
        counts.set(index, { prompt: event.promptTokens, completion: event.completionTokens, cached: event.cachedTokens });
        yield { index, text: written[index] === 0 ? echoOf(index) : "", finishReason: event.finishReason, logprobs: undefined, offset: 0, usage: counts.size === requests.length ? usage(counts, sampling.n) : undefined };
      }
    }
  }

  return {
    kind: generation === null ? "base" : "adapter",
    stream: async function* (signal): AsyncGenerator<TextCompletion, void, undefined> {
      for await (const { usage: whole, logprobs: tokens, offset, ...choice } of pieces(signal)) {
        if (choice.text !== "" || choice.finishReason !== null) yield textCompletionOf(head, [{ ...choice, logprobs: tokens === undefined ? undefined : textLogprobs(tokens, offset) }], undefined);
        if (whole !== undefined) yield textCompletionOf(head, [], whole);
      }
    },
    complete: async (signal) => {
      const choices = requests.map((_, index) => ({ index, text: "", finishReason: null as string | null, tokens: [] as TokenLogprob[] }));
      let counted: Usage | undefined;
      for await (const { index, text, finishReason, logprobs: tokens, usage: whole } of pieces(signal)) {
        const choice = choices[index];
        if (choice === undefined) continue;
        choice.text += text;
        choice.finishReason ??= finishReason;
        choice.tokens.push(...(tokens ?? []));
        counted ??= whole;
      }
      if (counted === undefined) throw new EverloraError("cancelled", "The request was aborted.");
      return textCompletionOf(head, choices.map(({ tokens, ...choice }) => ({ ...choice, logprobs: logprobs === null ? undefined : textLogprobs(tokens, echoOf(choice.index).length) })), counted);
    },
  };
}

/** Each prompt counts once, however many answers it has. */
function usage(counts: ReadonlyMap<number, { prompt: number; completion: number; cached: number }>, n: number): Usage {
  let [prompt, completion, cached] = [0, 0, 0];
  for (const [index, each] of counts) {
    completion += each.completion;
    if (index % n !== 0) continue;
    prompt += each.prompt;
    cached += each.cached;
  }
  return usageOf(prompt, completion, cached);
}
