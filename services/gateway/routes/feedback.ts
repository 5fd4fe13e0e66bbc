/**
 * POST /feedback: what a caller thinks of an answer. A rejected one leaves the cache at once; the collector hears of it on the stream `feedback`
 * and takes the row out. An approved one, and a correction, go onto the stream `conversations`, which makes them training data.
 */
import { Router } from "express";
import { z } from "zod";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { sha256, type Conversation } from "../../../shared/events/conversation.ts";
import { publish } from "../../../shared/events/streams.ts";
import { handler } from "../../../shared/http/app.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import { explainRedisError } from "../../../shared/redis/faults.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { SemanticCache } from "../cache/cache.ts";
import { callerOf } from "../../../shared/events/caller.ts";

const bodySchema = z
  .strictObject({
    conversation: z.string().min(1).max(128),
    rating: z.enum(["approved", "rejected"]),
    /** The answer that would have been right. */
    correction: z.string().trim().min(1).max(100_000).optional(),
    user: z.string().max(512).optional(),
    safety_identifier: z.string().max(512).optional(),
  })
  .refine(({ rating, correction }) => rating === "rejected" || correction === undefined, { error: "a correction goes with the rating rejected", path: ["correction"] });
type Feedback = z.infer<typeof bodySchema>;

export interface FeedbackDependencies {
  readonly cache: Pick<SemanticCache, "remove" | "recall">;
  /** Of REDIS_URL. */
  readonly outbox: Redis;
  readonly metrics: Pick<Metrics<"gateway">, "feedback">;
}

export function feedbackRoutes(dependencies: () => FeedbackDependencies, apiKey: string): Router {
  const router = Router();
  const keyHash = sha256(apiKey);
  router.post(
    "/feedback",
    handler(async (request, response) => {
      const ready = dependencies();
      const parsed = bodySchema.safeParse(request.body);
      if (!parsed.success) throw new EverloraError("invalid_request", describeIssues(parsed.error.issues));
      const feedback = parsed.data;
      try {
        const outcome = await take(feedback, callerOf(keyHash, feedback.user, feedback.safety_identifier), ready);
        ready.metrics.feedback.inc({ rating: feedback.rating });
        response.status(202).json(outcome);
      } catch (error) {
        throw explainRedisError(error);
      }
    }),
  );
  return router;
}

/** The stream last: when it has the event, all else has happened, and a client that saw an error may send the same again. */
async function take({ conversation, rating, correction }: Feedback, caller: string, { cache, outbox }: FeedbackDependencies): Promise<{ removed: number; recorded: boolean }> {
  const said = await cache.recall(conversation, caller);
  const removed = rating === "rejected" ? await cache.remove({ id: conversation, caller }, "feedback") : 0;
  const taught = said === null ? null : rating === "approved" ? { ...said, feedback: rating } : correction === undefined ? null : corrected(said, correction);
  if (taught !== null) await publish(outbox, "conversations", taught);
  await publish(outbox, "feedback", { version: 1, conversation, caller, rating, at: Date.now() });
  return { removed, recorded: taught !== null };
}

function corrected(said: Conversation, correction: string): Conversation {
  return { ...said, id: `correction-${sha256(said.id + correction).slice(0, 32)}`, createdAt: Date.now(), answer: { role: "assistant", content: correction }, finishReason: "stop", source: "correction", generation: null };
}
