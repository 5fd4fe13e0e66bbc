/** POST /v1/completions: text to go on with. Answers are neither cached nor recorded: a bare text is no conversation. */
import { randomUUID } from "node:crypto";
import { Router, type Request, type Response } from "express";
import type { Settings } from "../../../shared/config/settings.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { handler, sendJson } from "../../../shared/http/app.ts";
import type { ChatDependencies } from "../chat/answer.ts";
import { breakOff } from "../chat/break_off.ts";
import type { Head } from "../chat/completion.ts";
import { setRouteHeaders } from "../chat/headers.ts";
import { patienceFor, type Patience } from "../chat/patience.ts";
import { routeRequest, type Route } from "../chat/routing.ts";
import { EventWriter } from "../chat/sse.ts";
import { Stopwatch } from "../chat/stopwatch.ts";
import { parseTextRequest, type TextRequest } from "../text/request.ts";
import { serverTextSource, type TextSource } from "../text/source.ts";

export function textRoutes(dependencies: () => ChatDependencies, settings: Settings, apiKey: string): Router {
  const router = Router();
  const keyHash = sha256(apiKey);
  router.post(
    "/v1/completions",
    handler(async (http, response) => answerText(http, response, parseTextRequest(http.body, keyHash, settings), dependencies())),
  );
  return router;
}

async function answerText(http: Request, response: Response, request: TextRequest, dependencies: ChatDependencies): Promise<void> {
  const { backend, metrics, settings } = dependencies;
  const patience = patienceFor(http, response, settings);
  const watch = new Stopwatch(metrics);
  const route = await routeRequest({ model: request.model, lack: backend.lacksText(request), said: () => request.prompts?.join("\n") ?? "" }, dependencies);
  try {
    setRouteHeaders(response, route);
    const head: Head = { id: `cmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model: route.target.model };
    const source = sourceOf(request, route, head, dependencies);
    try {
      if (request.stream) await stream(response, request, source, patience, watch);
      else {
        const completion = await source.complete(patience.signal);
        watch.firstToken(source.kind);
        sendJson(response, completion);
      }
      watch.end(source.kind, "ok");
    } catch (thrown) {
      await breakOff(response, thrown, { patience, watch, source: source.kind, log: dependencies.log });
    }
  } finally {
    route.release();
  }
}

function sourceOf(request: TextRequest, { target }: Route, head: Head, { backend, upstream }: ChatDependencies): TextSource {
  if (target.kind === "engine") return backend.text(request, target, head);
  if (upstream === undefined) throw new EverloraError("internal_error", "A route to an upstream that there isn't.");
  return serverTextSource(upstream, "upstream", request, target.model, head);
}

async function stream(response: Response, { includeUsage }: TextRequest, source: TextSource, { signal }: Patience, watch: Stopwatch): Promise<void> {
  const events = new EventWriter(response);
  let finished = false;
  for await (const chunk of source.stream(signal)) {
    watch.firstToken(source.kind);
    finished ||= chunk.choices.some((choice) => typeof choice.finish_reason === "string");
    const isUsage = chunk.choices.length === 0 && chunk.usage !== null && chunk.usage !== undefined;
    if (isUsage && !includeUsage) continue;
    await events.data(includeUsage ? { ...chunk, usage: chunk.usage ?? null } : chunk);
  }
  if (signal.aborted) throw signal.reason;
  if (!finished) throw new EverloraError("upstream_error", "The stream broke off in the middle of the answer.");
  await events.done();
}
