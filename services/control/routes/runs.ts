/** GET /runs, /runs/:id, /runs/:id/metrics, /runs/:id/logs; POST /runs/:id/cancel and /runs/:id/reproduce. */
import { join } from "node:path";
import { Router } from "express";
import { z } from "zod";
import { domainNameSchema } from "../../../shared/events/streams.ts";
import { readLines } from "../../../shared/runs/lines.ts";
import { finalStates, logFile, logLineSchema, metricsFile, runStateSchema, stepMetricSchema } from "../../../shared/runs/run.ts";
import { runFolder } from "../../../shared/runs/store.ts";
import { cancelRun } from "../cancel.ts";
import { reproduceRun } from "../reproduce.ts";
import type { ControlContext } from "../context.ts";
import { streamLog } from "../log_stream.ts";
import { countSchema, parseBody, parseQuery, pathPart, route } from "../request.ts";
import { pageOfRuns, requireRun, summaryOf } from "../run_view.ts";

const listQuery = z.strictObject({ limit: countSchema(1, 100, 20), after: z.string().max(80).optional(), domain: domainNameSchema.optional(), state: runStateSchema.optional() });
const linesQuery = z.strictObject({ limit: countSchema(1, 100_000, 10_000), after: countSchema(0, Number.MAX_SAFE_INTEGER, 0) });
const noBody = z.strictObject({});

export function runRoutes(context: ControlContext): Router {
  const router = Router();
  const { runs } = context.paths;

  router.get(
    "/runs",
    route(async (request, response) => {
      const { limit, after, domain, state } = parseQuery(listQuery, request);
      const page = await pageOfRuns(context, { limit, after }, { domain, states: state === undefined ? undefined : [state] });
      response.json({ data: page.runs.map(summaryOf), more: page.more, damaged: page.damaged });
    }),
  );
  router.get(
    "/runs/:id",
    route(async (request, response) => {
      response.json(await requireRun(context, pathPart(request, "id")));
    }),
  );
  router.get(
    "/runs/:id/metrics",
    route(async (request, response) => {
      const { limit, after } = parseQuery(linesQuery, request);
      const { id, state } = await requireRun(context, pathPart(request, "id"));
      const steps = (await readLines(join(runFolder(runs, id), metricsFile), stepMetricSchema)).map((line) => line.value).filter((metric) => metric.step > after);
      response.json({ id, state, data: steps.slice(0, limit), more: steps.length > limit });
    }),
  );
  router.get(
    "/runs/:id/logs",
    route(async (request, response) => {
      const id = pathPart(request, "id");
      if (request.accepts(["application/json", "text/event-stream"]) === "text/event-stream") {
        await streamLog(context, id, request, response);
        return;
      }
      const { limit, after } = parseQuery(linesQuery, request);
      const { state } = await requireRun(context, id);
      const lines = (await readLines(join(runFolder(runs, id), logFile), logLineSchema)).filter((line) => line.id > after);
      response.json({ id, state, ended: finalStates.includes(state), data: lines.slice(0, limit).map((line) => ({ id: line.id, ...line.value })), more: lines.length > limit });
    }),
  );
  router.post(
    "/runs/:id/cancel",
    route(async (request, response) => {
      parseBody(noBody, request);
      const id = pathPart(request, "id");
      const state = await cancelRun(context, id);
      response.status(state === "cancelled" ? 200 : 202).json({ id, state });
    }),
  );
  router.post(
    "/runs/:id/reproduce",
    route(async (request, response) => {
      parseBody(noBody, request);
      const id = pathPart(request, "id");
      response.status(202).json({ id: await reproduceRun(context, id), reproduces: id });
    }),
  );
  return router;
}
