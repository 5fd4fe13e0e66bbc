/** DELETE /cache/…: takes answers out of the cache before their time. A caller reaches its own; with the admin key, everybody's. */
import { timingSafeEqual } from "node:crypto";
import { Router, type Request } from "express";
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { handler } from "../../../shared/http/app.ts";
import { explainRedisError } from "../../../shared/redis/faults.ts";
import type { SemanticCache } from "../cache/cache.ts";
import type { EntryFilter } from "../cache/invalidation.ts";
import { callerOf } from "../../../shared/events/caller.ts";

export interface CacheDependencies {
  readonly cache: Pick<SemanticCache, "remove">;
}

const querySchema = z.object({ user: z.string().max(512).optional(), safety_identifier: z.string().max(512).optional() });
const nameSchema = z.string().min(1).max(256);

export function cacheRoutes(dependencies: () => CacheDependencies, settings: Pick<Settings, "CACHE_ADMIN_KEY">, apiKey: string): Router {
  const router = Router();
  const keyHash = sha256(apiKey);
  const remove = async (request: Request, filter: (name: string) => EntryFilter) => {
    const { cache } = dependencies();
    const name = nameSchema.safeParse(Object.values(request.params)[0]);
    if (!name.success) throw new EverloraError("invalid_request", describeIssues(name.error.issues));
    const own = isAdmin(request, settings.CACHE_ADMIN_KEY) ? {} : { caller: callerIn(request, keyHash) };
    try {
      return await cache.remove({ ...filter(name.data), ...own }, "request");
    } catch (error) {
      throw explainRedisError(error);
    }
  };
  router.delete(
    "/cache/entries/:id",
    handler(async (request, response) => {
      const removed = await remove(request, (id) => ({ id }));
      if (removed === 0) throw new EverloraError("cache_entry_not_found", "The cache has no such entry of this caller.");
      response.json({ removed });
    }),
  );
  router.delete(
    "/cache/models/:model",
    handler(async (request, response) => {
      response.json({ removed: await remove(request, (model) => ({ model })) });
    }),
  );
  router.delete(
    "/cache/tags/:tag",
    handler(async (request, response) => {
      response.json({ removed: await remove(request, (tag) => ({ tag })) });
    }),
  );
  router.delete(
    "/cache/callers/:caller",
    handler(async (request, response) => {
      const self = callerIn(request, keyHash);
      const caller = request.params["caller"] === "self" ? self : String(request.params["caller"]);
      if (caller !== self && !isAdmin(request, settings.CACHE_ADMIN_KEY)) throw new EverloraError("forbidden", "Only the admin key reaches another caller's entries.");
      try {
        response.json({ removed: await dependencies().cache.remove({ caller }, "request") });
      } catch (error) {
        throw explainRedisError(error);
      }
    }),
  );
  return router;
}

/** @throws EverloraError invalid_request */
function callerIn(request: Request, keyHash: string): string {
  const query = querySchema.safeParse(request.query);
  if (!query.success) throw new EverloraError("invalid_request", describeIssues(query.error.issues));
  return callerOf(keyHash, query.data.user, query.data.safety_identifier);
}

/** @throws EverloraError forbidden when a key was sent that is not the one that is set */
function isAdmin(request: Request, adminKey: string | undefined): boolean {
  const given = request.headers["x-everlora-admin-key"];
  if (given === undefined) return false;
  // Digests have one length and tell nothing through time.
  const fits = adminKey !== undefined && timingSafeEqual(Buffer.from(sha256(String(given))), Buffer.from(sha256(adminKey)));
  if (!fits) throw new EverloraError("forbidden", "The admin key is not the one that is set.");
  return true;
}
