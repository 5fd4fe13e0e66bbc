/** What a request's headers wish of the cache, and the headers that say how it was answered. Those are set before the answer begins, so that errors and streams carry them, too. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Hit } from "../cache/cache.ts";
import type { Route } from "./routing.ts";

/** Of `Cache-Control`: `no-store` neither looks up nor keeps nor records; `no-cache` asks for a fresh answer, which is kept. */
export interface CacheWish {
  readonly lookup: boolean;
  readonly keep: boolean;
}

export function cacheWish(http: IncomingMessage): CacheWish {
  const wish = http.headers["cache-control"]?.toLowerCase() ?? "";
  const noStore = wish.includes("no-store");
  return { lookup: !noStore && !wish.includes("no-cache"), keep: !noStore };
}

/** Of `x-everlora-cache-tags: prices, faq`: names under which the entry can be removed. */
export function tagsOf(http: IncomingMessage): string[] {
  const header = http.headers["x-everlora-cache-tags"];
  if (typeof header !== "string") return [];
  return header.split(/[\s,]+/).filter((tag) => /^[\w.:-]{1,64}$/.test(tag)).slice(0, 16);
}

export function setRouteHeaders(response: ServerResponse, { domain, target, arm }: Route): void {
  if (domain !== null) response.setHeader("x-everlora-domain", domain);
  response.setHeader("x-everlora-arm", arm);
  if (target.kind === "engine" && target.generation !== null) response.setHeader("x-everlora-generation", target.generation);
}

/** @param id of the conversation that is recorded, or about to be: a replay has an id of its own but names the conversation that it repeats */
export function setCacheHeaders(response: ServerResponse, hit: Hit | null, otherwise: "miss" | "miss-exact" | "bypass" | "joined", id: string): void {
  response.setHeader("x-everlora-cache", hit?.kind ?? otherwise);
  response.setHeader("x-everlora-conversation", hit?.answer.conversation ?? id);
  if (hit === null) return;
  response.setHeader("x-everlora-similarity", hit.similarity.toFixed(4));
  if (hit.answer.generation === null) response.removeHeader("x-everlora-generation");
  else response.setHeader("x-everlora-generation", hit.answer.generation);
}
