/** Where a text completion comes from: the engine (engine_source.ts) or another server. */
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { Head } from "../chat/completion.ts";
import type { Source } from "../chat/source.ts";
import { doneEvent, type Upstream } from "../upstream/upstream.ts";
import { textCompletionSchema, type TextCompletion } from "./completion.ts";
import type { TextRequest } from "./request.ts";

export interface TextSource {
  readonly kind: Source["kind"];
  /** @throws EverloraError; `cancelled` when the signal ended it */
  complete(signal: AbortSignal): Promise<TextCompletion>;
  /** Usage comes in a chunk of its own, last, when it is known. */
  stream(signal: AbortSignal): AsyncGenerator<TextCompletion, void, undefined>;
}

const path = "completions";

/** @param kind, model and more: as for serverSource of chats */
export function serverTextSource(server: Pick<Upstream, "json" | "events">, kind: Source["kind"], request: TextRequest, model: string, head: Head, more: Readonly<Record<string, unknown>> = {}): TextSource {
  const { adapter_id: _ours, ...asked } = request.body;
  const body = { ...asked, model, ...more };
  const read = (json: unknown): TextCompletion => {
    const parsed = textCompletionSchema.safeParse(json);
    if (!parsed.success) throw new EverloraError("upstream_error", "The upstream's answer is not a text completion.");
    return { ...parsed.data, id: head.id, created: parsed.data.created ?? head.created, model: kind === "upstream" ? (parsed.data.model ?? model) : head.model };
  };
  return {
    kind,
    complete: async (signal) => read(await server.json(path, { ...body, stream: false, stream_options: undefined }, signal)),
    stream: async function* (signal) {
      for await (const event of server.events(path, { ...body, stream: true }, signal)) {
        if (event === doneEvent) return;
        yield read(event);
      }
    },
  };
}
