/**
 * LoRAX (loraexchange.ai): loads an adapter when a request names it, by a path in `model` with `adapter_source: "local"`; `model: ""` is the base. It keeps
 * what it read under that path, so the path carries the generation.
 */
import { z } from "zod";
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { Server, ServingProtocol } from "./protocol.ts";

const infoSchema = z.looseObject({ model_id: z.string().min(1), max_total_tokens: z.int().min(1).nullish() });

/** @param root path of the server's own routes, which lie beside /v1: "" or "/prefix" */
export function lorax(server: Server, root: string): ServingProtocol {
  return {
    kind: "lorax",
    base: async (signal) => {
      const parsed = infoSchema.safeParse(await server.json(`${root}/info`, undefined, signal));
      if (!parsed.success) throw new EverloraError("upstream_error", "The serving server's /info does not name a model.");
      return { id: parsed.data.model_id, contextLength: parsed.data.max_total_tokens ?? undefined };
    },
    // One token by it: the adapter is read, checked and in memory before anybody waits for it.
    load: async ({ path }, signal) => void (await server.text(`${root}/generate`, { inputs: "Hi", parameters: { adapter_id: path, adapter_source: "local", max_new_tokens: 1 } }, signal)),
    unload: async () => undefined, // it lets go of the least recently used by itself, and has no route for it
    loaded: async () => null,
    address: (adapter) => (adapter === null ? { model: "", more: {} } : { model: adapter.path, more: { adapter_source: "local" } }),
  };
}
