/** GET /datasets. */
import { Router } from "express";
import type { ControlContext } from "../context.ts";
import { statsOf, supplyIn } from "../enough.ts";
import { route } from "../request.ts";

export function datasetRoutes(context: ControlContext): Router {
  const router = Router();
  router.get(
    "/datasets",
    route(async (_request, response) => {
      const data = [];
      for (const domain of context.domains) {
        const stats = await statsOf(context, domain.name);
        const { needed, enough } = supplyIn(context, domain, stats);
        const { rows, train, heldOut, outside, byLanguage, faults } = stats;
        data.push({ domain: domain.name, rows, splits: { train, "held-out": heldOut }, languages: byLanguage, outsideWindow: outside, unreadable: faults.length, needed, enough });
      }
      response.json({ data, windowDays: context.settings.TRAINING_DATA_DAYS });
    }),
  );
  return router;
}
