/** GET /adapters, /adapters/:domain; POST /adapters/:domain/promote, /adapters/:domain/rollback. */
import { Router } from "express";
import { z } from "zod";
import { requireDomain } from "../../../shared/domains/domains.ts";
import { generationSchema } from "../../../shared/events/streams.ts";
import type { LivePointer } from "../../../shared/peft/manifest.ts";
import { listAdapters, readLive } from "../../../shared/peft/registry.ts";
import type { ControlContext } from "../context.ts";
import { promote, rollback } from "../live.ts";
import { parseBody, pathPart, route } from "../request.ts";

const promoteSchema = z.strictObject({ generation: generationSchema });
const rollbackSchema = z.strictObject({ to: z.enum(["previous", "base"]).default("previous") });

export function adapterRoutes(context: ControlContext): Router {
  const router = Router();
  const { loras } = context.paths;
  router.get(
    "/adapters",
    route(async (_request, response) => {
      response.json(await listing(loras));
    }),
  );
  router.get(
    "/adapters/:domain",
    route(async (request, response) => {
      const { name } = requireDomain(pathPart(request, "domain"), context.domains);
      response.json({ domain: name, live: pointerView(await readLive(loras, name)), ...(await listing(loras, name)) });
    }),
  );
  router.post(
    "/adapters/:domain/promote",
    route(async (request, response) => {
      const { name } = requireDomain(pathPart(request, "domain"), context.domains);
      const { generation } = parseBody(promoteSchema, request);
      response.json({ domain: name, live: pointerView(await promote(context, name, generation)) });
    }),
  );
  router.post(
    "/adapters/:domain/rollback",
    route(async (request, response) => {
      const { name } = requireDomain(pathPart(request, "domain"), context.domains);
      const { to } = parseBody(rollbackSchema, request);
      response.json({ domain: name, live: pointerView(await rollback(context, name, to)) });
    }),
  );
  return router;
}

async function listing(loras: string, domain?: string): Promise<{ data: unknown[]; damaged: unknown[] }> {
  const { adapters, damaged } = await listAdapters(loras);
  const data = adapters
    .filter((adapter) => domain === undefined || adapter.domain === domain)
    .map(({ domain: of, generation, live, manifest }) => ({ domain: of, generation, live, createdAt: manifest.createdAt, runId: manifest.runId, base: manifest.base, heldOut: manifest.heldOut, files: manifest.files }));
  return { data, damaged: damaged.filter((adapter) => domain === undefined || adapter.domain === domain) };
}

function pointerView(pointer: LivePointer | null) {
  return pointer === null ? null : { generation: pointer.generation, previous: pointer.previous, since: pointer.since, reason: pointer.reason };
}
