/** POST /v1/chat/completions. */
import { Router } from "express";
import { sha256 } from "../../../shared/events/conversation.ts";
import { handler } from "../../../shared/http/app.ts";
import type { Settings } from "../../../shared/config/settings.ts";
import { answerChat, type ChatDependencies } from "../chat/answer.ts";
import { parseChatRequest } from "../chat/request.ts";

export function chatRoutes(dependencies: () => ChatDependencies, settings: Settings, apiKey: string): Router {
  const router = Router();
  const keyHash = sha256(apiKey);
  router.post(
    "/v1/chat/completions",
    handler(async (request, response) => {
      const ready = dependencies();
      try {
        await answerChat(request, response, parseChatRequest(request.body, keyHash, settings), ready);
      } catch (error) {
        if (!response.destroyed) throw error; // otherwise the client left, and nobody is there to be told
      }
    }),
  );
  return router;
}
