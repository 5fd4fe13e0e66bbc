/**
 * vLLM's runtime adapters (docs.vllm.ai/en/latest/features/lora.html; the server must run with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora):
 * loaded and unloaded by name, chosen by `model`. Names carry the generation, so that neither its prefix cache nor a slow unload can mix two of them.
 */
import { z } from "zod";
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { Server, ServingProtocol } from "./protocol.ts";

const modelsSchema = z.looseObject({ data: z.array(z.looseObject({ id: z.string(), parent: z.string().nullish(), max_model_len: z.int().min(1).nullish() })) });

export function vllm(server: Server): ServingProtocol {
  const models = async (signal: AbortSignal) => {
    const parsed = modelsSchema.safeParse(await server.json("models", undefined, signal));
    if (!parsed.success) throw new EverloraError("upstream_error", "The serving server's list of models is none.");
    return parsed.data.data;
  };
  return {
    kind: "vllm",
    base: async (signal) => {
      const base = (await models(signal)).find(({ parent }) => parent === null || parent === undefined);
      if (base === undefined) throw new EverloraError("upstream_error", "The serving server names no base model.");
      return { id: base.id, contextLength: base.max_model_len ?? undefined };
    },
    load: async ({ name, path }, signal) => {
      try {
        // The answer is a line of text, not JSON.
        await server.text("load_lora_adapter", { lora_name: name, lora_path: path }, signal);
      } catch (error) {
        if (!(error instanceof EverloraError && error.code === "invalid_request" && /already been loaded/.test(error.message))) throw error;
      }
    },
    unload: async ({ name }, signal) => {
      try {
        await server.text("unload_lora_adapter", { lora_name: name }, signal);
      } catch (error) {
        if (!(error instanceof EverloraError && (error.code === "model_not_found" || error.code === "invalid_request"))) throw error;
      }
    },
    loaded: async (signal) => new Set((await models(signal)).filter(({ parent }) => typeof parent === "string").map(({ id }) => id)),
    address: (adapter, base) => ({ model: adapter?.name ?? base.id, more: {} }),
  };
}
