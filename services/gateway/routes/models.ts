/** GET /v1/models and /v1/models/{id}: what can be named, with vLLM's `root` and `parent` for adapters. */
import { Router } from "express";
import type { Settings } from "../../../shared/config/settings.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { handler } from "../../../shared/http/app.ts";
import type { Adapters } from "../adapters/adapters.ts";
import { autoModel, parseExact } from "../chat/routing.ts";
import type { EngineModel } from "../engine/protocol.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { embeddingModelName } from "./embeddings.ts";

interface ModelEntry {
  readonly id: string;
  readonly object: "model";
  /** Seconds since 1970. */
  readonly created: number;
  readonly owned_by: string;
  readonly root: string;
  readonly parent: string | null;
  readonly max_model_len?: number;
}

export interface ModelsDependencies {
  readonly model: EngineModel;
  readonly adapters: Pick<Adapters, "list" | "aliases" | "leaseGeneration">;
  readonly upstream: Upstream | undefined;
  /** Milliseconds since 1970 at which the base became ready. */
  readonly since: number;
}

export function modelRoutes(dependencies: () => ModelsDependencies, settings: Pick<Settings, "EMBEDDING_MODEL">): Router {
  const router = Router();
  router.get("/v1/models", (_request, response) => {
    response.json({ object: "list", data: listModels(dependencies(), embeddingModelName(settings)) });
  });
  router.get(
    "/v1/models/:id",
    handler(async (request, response) => {
      const id = String(request.params["id"]);
      const ready = dependencies();
      response.json(listModels(ready, embeddingModelName(settings)).find((entry) => entry.id === id) ?? (await findStored(id, ready)));
    }),
  );
  return router;
}

/** @param embedding name of the model of EMBEDDING_MODEL */
function listModels({ model, adapters, upstream, since }: ModelsDependencies, embedding: string | undefined): ModelEntry[] {
  const entry = (id: string, at: number, root: string, parent: string | null, owner = "everlora"): ModelEntry => ({
    id,
    object: "model",
    created: Math.floor(at / 1000),
    owned_by: owner,
    root,
    parent,
    ...(owner === "everlora" ? { max_model_len: model.contextLength } : {}),
  });
  return [
    entry(model.name, since, model.name, null),
    entry(autoModel, since, model.name, null),
    ...adapters.list().flatMap(({ domain, generation, since: at }) => {
      const exact = `${domain}@${generation}`;
      return [entry(domain, at, exact, model.name), entry(exact, at, exact, model.name)];
    }),
    ...adapters.aliases().map(({ name, adapter: { domain, generation } }) => entry(name, since, `${domain}@${generation}`, model.name)),
    ...(embedding === undefined ? [] : [{ ...entry(embedding, since, embedding, null, "embedding"), owned_by: "everlora" }]),
    ...(upstream === undefined ? [] : [entry(upstream.model, since, upstream.model, null, "upstream")]),
  ];
}

/** A generation that isn't live but lies in loras/: it counts when it can be loaded. */
async function findStored(id: string, { model, adapters, since }: ModelsDependencies): Promise<ModelEntry> {
  const exact = parseExact(id);
  if (exact === undefined) throw new EverloraError("model_not_found", `There is no model ${JSON.stringify(id)}.`, { param: "model" });
  const lease = await adapters.leaseGeneration(exact.domain, exact.generation);
  lease.release();
  return { id, object: "model", created: Math.floor(since / 1000), owned_by: "everlora", root: id, parent: model.name, max_model_len: model.contextLength };
}
