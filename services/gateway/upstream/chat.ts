/** Chat completions of another server, checked: whole, or chunk by chunk up to a finish reason. */
import { EverloraError } from "../../../shared/errors/errors.ts";
import { chunkSchema, completionSchema, type Chunk, type Completion } from "../chat/completion.ts";
import { doneEvent, type Upstream } from "./upstream.ts";

const path = "chat/completions";

/** @throws EverloraError as Upstream.json; upstream_error when the answer is none */
export async function completeChat(upstream: Pick<Upstream, "json">, body: object, signal: AbortSignal): Promise<Completion> {
  const parsed = completionSchema.safeParse(await upstream.json(path, body, signal));
  if (!parsed.success) throw new EverloraError("upstream_error", "The upstream's answer is not a chat completion.");
  return parsed.data;
}

/** Ends only after a finish_reason or [DONE]. @throws EverloraError as Upstream.events */
export async function* streamChat(upstream: Pick<Upstream, "events">, body: object, signal: AbortSignal): AsyncGenerator<Chunk, void, undefined> {
  let finished = false;
  for await (const event of upstream.events(path, body, signal)) {
    if (event === doneEvent) return;
    const chunk = chunkSchema.safeParse(event);
    if (!chunk.success) throw new EverloraError("upstream_error", "The upstream sent an event that is not a chunk of a chat completion.");
    finished ||= chunk.data.choices.some((choice) => choice.finish_reason !== null && choice.finish_reason !== undefined);
    yield chunk.data;
  }
  if (!finished && !signal.aborted) throw new EverloraError("upstream_error", "The upstream's stream broke off in the middle of the answer.");
}
