/** Where an answer comes from: the engine or the upstream, behind one interface. Both give chunks; the upstream can also be asked for the whole at once. */
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { AnswerSource } from "../../../shared/events/conversation.ts";
import type { Engine } from "../engine/engine.ts";
import { completeChat, streamChat } from "../upstream/chat.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { Accumulator } from "./accumulator.ts";
import { completionOf, deltaChunk, usageChunk, usageOf, type Chunk, type Completion, type Head } from "./completion.ts";
import { plainMessages, type ChatRequest } from "./request.ts";

export interface Source {
  readonly kind: Extract<AnswerSource, "base" | "adapter" | "upstream">;
  /** @throws EverloraError; what the signal aborted ends with a DOMException or without a finish reason */
  complete(signal: AbortSignal): Promise<Completion>;
  /** Usage comes in a chunk of its own, last, when it is known. */
  stream(signal: AbortSignal): AsyncGenerator<Chunk, void, undefined>;
}

export function engineSource(engine: Engine, request: ChatRequest, generation: string | null, contextLength: number, head: Head): Source {
  async function* stream(signal: AbortSignal): AsyncGenerator<Chunk, void, undefined> {
    const events = engine.generate(
      {
        messages: plainMessages(request.messages),
        generation,
        maxTokens: Math.min(request.maxTokens ?? contextLength, contextLength),
        temperature: request.temperature,
        topP: request.topP,
        stop: request.stop,
        ...(request.seed === undefined ? {} : { seed: request.seed }),
      },
      signal,
    );
    let begun = false;
    for await (const event of events) {
      // With the first event and not before: until then the request can still fail with a status of its own.
      if (!begun) yield deltaChunk(head, { role: "assistant", content: "" });
      begun = true;
      if (event.type === "token") {
        if (event.text !== "") yield deltaChunk(head, { content: event.text });
      } else if (event.finishReason !== "abort") {
        yield deltaChunk(head, {}, event.finishReason);
        yield usageChunk(head, usageOf(event.promptTokens, event.completionTokens));
      }
    }
  }
  return {
    kind: generation === null ? "base" : "adapter",
    stream,
    complete: async (signal) => {
      const whole = new Accumulator();
      for await (const chunk of stream(signal)) whole.add(chunk);
      if (whole.finishReason === null) throw new EverloraError("cancelled", "The request was aborted.");
      return completionOf(head, whole.message, whole.finishReason, whole.usage);
    },
  };
}

/** @param model what the upstream calls it */
export function upstreamSource(upstream: Upstream, request: ChatRequest, model: string, head: Head): Source {
  const body = { ...request.body, model };
  // Our own id, by which feedback finds the conversation; the model's name is the upstream's to say.
  const relabel = <T extends Chunk | Completion>(answer: T): T => ({ ...answer, id: head.id, created: answer.created ?? head.created, model: answer.model ?? model });
  return {
    kind: "upstream",
    complete: async (signal) => relabel(await completeChat(upstream, { ...body, stream: false, stream_options: undefined }, signal)),
    stream: async function* (signal) {
      for await (const chunk of streamChat(upstream, { ...body, stream: true }, signal)) yield relabel(chunk);
    },
  };
}
