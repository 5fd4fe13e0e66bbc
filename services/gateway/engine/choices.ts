/** Several answers to one prompt at once: their events come as they are made, each with the index of its answer. */
import { Channel } from "./channel.ts";
import type { Engine, GenerateRequest, GenerationEvent } from "./engine.ts";

export interface ChoiceEvent {
  readonly index: number;
  readonly event: GenerationEvent;
}

/**
 * Ends when all have ended. When one fails, or the reader leaves, the others are stopped.
 * @throws EverloraError as Engine.generate
 */
export async function* generateChoices(engine: Pick<Engine, "generate">, requests: readonly GenerateRequest[], signal: AbortSignal): AsyncGenerator<ChoiceEvent, void, undefined> {
  const [only, ...more] = requests;
  if (only !== undefined && more.length === 0) {
    for await (const event of engine.generate(only, signal)) yield { index: 0, event };
    return;
  }
  const stop = new AbortController();
  const all = AbortSignal.any([signal, stop.signal]);
  const events = new Channel<ChoiceEvent>();
  const run = async (request: GenerateRequest, index: number) => {
    for await (const event of engine.generate(request, all)) events.push({ index, event });
  };
  Promise.all(requests.map(run)).then(
    () => events.end(),
    (error: unknown) => events.end(error instanceof Error ? error : new Error(String(error))),
  );
  try {
    yield* events;
  } finally {
    stop.abort();
  }
}
