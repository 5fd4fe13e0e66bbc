/** Base and adapters on a server of the fleet, as the chat and text routes see them. */
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { Backend } from "../chat/backend.ts";
import { serverSource } from "../chat/source.ts";
import type { EngineModel } from "../engine/protocol.ts";
import { serverTextSource } from "../text/source.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { Fleet } from "./fleet.ts";

interface Answering<T> {
  complete(signal: AbortSignal): Promise<T>;
  stream(signal: AbortSignal): AsyncGenerator<unknown, void, undefined>;
}

export function servingBackend(fleet: Pick<Fleet, "address" | "reconcile">, server: Pick<Upstream, "json" | "events">, model: EngineModel): Backend {
  const kindOf = (generation: string | null) => (generation === null ? ("base" as const) : ("adapter" as const));
  return {
    model,
    // What it can't do, it says itself.
    lacks: () => null,
    lacksText: () => null,
    chat: (request, { generation }, head) => {
      const { model: name, more } = fleet.address(generation);
      return trueToAdapter(serverSource(server, kindOf(generation), request, name, head, more), generation, fleet);
    },
    text: (request, { generation }, head) => {
      const { model: name, more } = fleet.address(generation);
      return trueToAdapter(serverTextSource(server, kindOf(generation), request, name, head, more), generation, fleet);
    },
  };
}

/** A server that was started anew does not know the adapter: it is loaded again, and the request sent once more, as long as nothing went out. */
function trueToAdapter<T, S extends Answering<T>>(source: S, generation: string | null, fleet: Pick<Fleet, "reconcile">): S {
  if (generation === null) return source;
  const isForgotten = (error: unknown) => error instanceof EverloraError && error.code === "model_not_found";
  async function* stream(signal: AbortSignal) {
    let begun = false;
    try {
      for await (const chunk of source.stream(signal)) {
        begun = true;
        yield chunk;
      }
      return;
    } catch (error) {
      if (begun || !isForgotten(error)) throw error;
    }
    await fleet.reconcile();
    yield* source.stream(signal);
  }
  const complete = async (signal: AbortSignal) => {
    try {
      return await source.complete(signal);
    } catch (error) {
      if (!isForgotten(error)) throw error;
    }
    await fleet.reconcile();
    return source.complete(signal);
  };
  return { ...source, stream, complete };
}
