/** POST /v1/chat/completions: past Express for ordinary requests, by its router for the others. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Router } from "express";
import { sha256 } from "../../../shared/events/conversation.ts";
import { handler } from "../../../shared/http/app.ts";
import type { DirectRoute } from "../../../shared/http/direct.ts";
import type { Settings } from "../../../shared/config/settings.ts";
import { answerChat, type ChatDependencies } from "../chat/answer.ts";
import { parseChatRequest } from "../chat/request.ts";

export function chatRoutes(dependencies: () => ChatDependencies, settings: Settings, apiKey: string): { readonly router: Router; readonly direct: DirectRoute } {
  const keyHash = sha256(apiKey);
  const handle = async (request: IncomingMessage, body: unknown, response: ServerResponse) => {
    const ready = dependencies();
    try {
      await answerChat(request, response, parseChatRequest(body, keyHash, settings), ready);
    } catch (error) {
      if (!response.destroyed) throw error; // otherwise the client left, and nobody is there to be told
    }
  };
  const router = Router();
  router.post("/v1/chat/completions", handler((request, response) => handle(request, request.body, response)));
  return { router, direct: { path: "/v1/chat/completions", handle } };
}
