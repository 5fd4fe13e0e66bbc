/** POST /fine-tune/trigger, GET /fine-tune/status. */
import { Router } from "express";
import { z } from "zod";
import { trainingOverridesSchema } from "../../../shared/events/queues.ts";
import { domainNameSchema } from "../../../shared/events/streams.ts";
import type { ControlContext } from "../context.ts";
import { parseBody, route } from "../request.ts";
import type { Schedule } from "../schedule.ts";
import { statusOf } from "../status.ts";
import { trigger } from "../trigger.ts";

const triggerSchema = z.strictObject({ domain: domainNameSchema.optional(), force: z.boolean().default(false), config: trainingOverridesSchema.default({}) });

export function fineTuneRoutes(context: ControlContext, schedule: Schedule): Router {
  const router = Router();
  router.post(
    "/fine-tune/trigger",
    route(async (request, response) => {
      response.status(202).json(await trigger(context, parseBody(triggerSchema, request)));
    }),
  );
  router.get(
    "/fine-tune/status",
    route(async (_request, response) => {
      response.json(await statusOf(context, schedule));
    }),
  );
  return router;
}
