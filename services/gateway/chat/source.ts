/** Where an answer comes from: the engine or another server, behind one interface. Both give chunks; the other server can also be asked for the whole at once. */
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { AnswerSource } from "../../../shared/events/conversation.ts";
import { generateChoices } from "../engine/choices.ts";
import type { Engine, GenerateRequest } from "../engine/engine.ts";
import { completeChat, streamChat } from "../upstream/chat.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { Accumulator } from "./accumulator.ts";
import { completionOf, deltaChunk, usageChunk, usageOf, type Chunk, type Completion, type Head } from "./completion.ts";
import { plainMessages, type ChatRequest } from "./request.ts";
import { engineFormat } from "./response_format.ts";
import { engineSampling } from "./sampling.ts";

export interface Source {
  readonly kind: Extract<AnswerSource, "base" | "adapter" | "upstream">;
  /** @throws EverloraError; `cancelled` when the signal ended it */
  complete(signal: AbortSignal): Promise<Completion>;
  /** Usage comes in a chunk of its own, last, when it is known. What the signal ends, ends without a finish reason. */
  stream(signal: AbortSignal): AsyncGenerator<Chunk, void, undefined>;
}

/** @throws EverloraError invalid_request when the response format is none */
export function engineSource(engine: Pick<Engine, "generate">, request: ChatRequest, generation: string | null, contextLength: number, head: Head): Source {
  const messages = plainMessages(request.messages);
  const responseFormat = engineFormat(request.body.response_format);
  const requests = Array.from({ length: request.sampling.n }, (_, index): GenerateRequest => ({
    ...engineSampling(request.sampling, index),
    messages,
    generation,
    maxTokens: Math.min(request.maxTokens ?? contextLength, contextLength),
    caller: request.caller,
    ...(request.logprobs === null ? {} : { logprobs: request.logprobs }),
    ...(responseFormat === null ? {} : { responseFormat }),
  }));

  async function* stream(signal: AbortSignal): AsyncGenerator<Chunk, void, undefined> {
    const begun = new Set<number>();
    const count = { prompt: 0, completion: 0, cached: 0, ended: 0 };
    for await (const { index, event } of generateChoices(engine, requests, signal)) {
      // With the first event and not before: until then the request can still fail with a status of its own.
      if (!begun.has(index)) yield deltaChunk(head, { role: "assistant", content: "" }, { index });
      begun.add(index);
      if (event.type === "token") {
        if (event.text !== "" || event.logprobs !== undefined) yield deltaChunk(head, { content: event.text }, { index, logprobs: event.logprobs });
      } else if (event.finishReason !== "abort") {
        count.prompt = event.promptTokens;
        count.cached = Math.max(count.cached, event.cachedTokens);
        count.completion += event.completionTokens;
        count.ended++;
        yield deltaChunk(head, {}, { index, finishReason: event.finishReason });
      }
    }
    if (count.ended === requests.length) yield usageChunk(head, usageOf(count.prompt, count.completion, count.cached));
  }
  return {
    kind: generation === null ? "base" : "adapter",
    stream,
    complete: async (signal) => {
      const whole = new Accumulator();
      const count = { prompt: 0, completion: 0, cached: 0 };
      for await (const { index, event } of generateChoices(engine, requests, signal)) {
        if (event.type === "token") {
          whole.add(deltaChunk(head, { content: event.text }, { index }));
          if (event.logprobs !== undefined) whole.addLogprobs(index, event.logprobs);
        } else if (event.finishReason !== "abort") {
          count.prompt = event.promptTokens;
          count.cached = Math.max(count.cached, event.cachedTokens);
          count.completion += event.completionTokens;
          whole.add(deltaChunk(head, {}, { index, finishReason: event.finishReason }));
        }
      }
      const choices = whole.choices(requests.length);
      if (choices === null) throw new EverloraError("cancelled", "The request was aborted.");
      return completionOf(head, choices, usageOf(count.prompt, count.completion, count.cached));
    },
  };
}

/**
 * @param kind whose answer it is: the teacher's, or that of our own base or adapter on another server
 * @param model what the server calls it; @param more fields that only this server knows
 */
export function serverSource(server: Pick<Upstream, "json" | "events">, kind: Source["kind"], request: ChatRequest, model: string, head: Head, more: Readonly<Record<string, unknown>> = {}): Source {
  const { adapter_id: _ours, ...asked } = request.body;
  const body = { ...asked, model, ...more };
  // Our own id, by which feedback finds the conversation; the model's name is the upstream's to say, and ours where the server only runs our adapters.
  const relabel = <T extends Chunk | Completion>(answer: T): T => ({ ...answer, id: head.id, created: answer.created ?? head.created, model: kind === "upstream" ? (answer.model ?? model) : head.model });
  return {
    kind,
    complete: async (signal) => relabel(await completeChat(server, { ...body, stream: false, stream_options: undefined }, signal)),
    stream: async function* (signal) {
      for await (const chunk of streamChat(server, { ...body, stream: true }, signal)) yield relabel(chunk);
    },
  };
}
