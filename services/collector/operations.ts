/** What a person asks of a running collector: to take conversations in, to collect now, to forget. Over HTTP for the command line, which must not write the data itself. */
import { Router, type Request } from "express";
import { z } from "zod";
import type { Paths } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import type { CollectReport, ForgetReport, Outcome } from "../../shared/datasets/commands.ts";
import { emptyOutcome } from "../../shared/datasets/commands.ts";
import { capsOf } from "../../shared/datasets/curate.ts";
import { writeDatasetReport, type DatasetReport } from "../../shared/datasets/report.ts";
import { writeSnapshot } from "../../shared/datasets/snapshots.ts";
import { windowOf } from "../../shared/datasets/window.ts";
import { describeIssues, EverloraError } from "../../shared/errors/errors.ts";
import { conversationSchema, type Conversation } from "../../shared/events/conversation.ts";
import { handler } from "../../shared/http/app.ts";
import { forgetRows, selectorSchema, type Selector } from "./forget/forget.ts";
import type { Intake } from "./intake.ts";
import type { Scanner } from "./readers/scanner.ts";
import type { StreamReader } from "./readers/stream.ts";
import type { Store } from "./store/store.ts";
import type { Threshold } from "./threshold/threshold.ts";

export interface Operations {
  import(conversations: readonly Conversation[]): Promise<Outcome>;
  /** Reads stream and caches to their end and writes a snapshot of each domain. @param days of the window; TRAINING_DATA_DAYS without */
  collect(days: number | undefined): Promise<CollectReport>;
  forget(selector: Selector, dryRun: boolean): Promise<ForgetReport>;
}

export interface OperationParts {
  readonly paths: Pick<Paths, "trainingData" | "runs" | "loras">;
  readonly settings: Settings;
  readonly apiKey: string;
  readonly store: Store;
  readonly intake: Intake;
  readonly threshold: Threshold;
  readonly domains: readonly string[];
  readonly stream: () => StreamReader | undefined;
  readonly scanner: () => Scanner | undefined;
}

export function createOperations(parts: OperationParts): Operations {
  const { paths, settings, store, intake, threshold } = parts;
  return {
    import: (conversations) => intake.collect("import", conversations),
    forget: (selector, dryRun) => intake.alone(() => forgetRows({ paths, store, selector, dryRun, now: Date.now(), apiKey: parts.apiKey })),
    async collect(days = settings.TRAINING_DATA_DAYS) {
      const before = sumsOf(store);
      const asked = new Map(threshold.last);
      const scan = await parts.scanner()?.scanNow();
      await parts.stream()?.quiet();
      await threshold.evaluate();
      const caches = scan?.layouts ?? {};
      const { report, domains } = await snapshotAll(parts, days, caches);
      const found = emptyOutcome();
      const after = sumsOf(store);
      Object.assign(found, { rows: after.rows - before.rows, dropped: after.dropped - before.dropped });
      const triggered = [...threshold.last].filter(([name, trigger]) => asked.get(name)?.runId !== trigger.runId).map(([, { runId }]) => runId);
      return { command: "collect", found, caches, report, domains, triggered };
    },
  };
}

function sumsOf({ tallies }: Store): { rows: number; dropped: number } {
  let [rows, dropped] = [0, 0];
  for (const { counts, dropped: drops } of tallies.values()) {
    rows += counts.rows;
    for (const count of drops.values()) dropped += count;
  }
  return { rows, dropped };
}

async function snapshotAll({ paths, settings, domains, intake }: OperationParts, days: number, caches: DatasetReport["caches"]): Promise<Pick<CollectReport, "report" | "domains">> {
  const now = Date.now();
  const window = { ...windowOf(days, now), days };
  const used = { TRAINING_DATA_DAYS: days, HELD_OUT_SHARE: settings.HELD_OUT_SHARE, MIN_EXAMPLES_PER_DOMAIN: settings.MIN_EXAMPLES_PER_DOMAIN, CALLER_SHARE: settings.CALLER_SHARE, TEMPLATE_SHARE: settings.TEMPLATE_SHARE, SOURCE_SHARE: settings.SOURCE_SHARE };
  const written = [];
  for (const domain of domains) written.push({ domain, facts: (await intake.alone(() => writeSnapshot({ trainingData: paths.trainingData, domain, window, settings: used, caps: capsOf(settings), now })))?.facts ?? null });
  const report = await writeDatasetReport(paths.trainingData, {
    version: 1,
    createdAt: new Date(now).toISOString(),
    days,
    caches,
    domains: written.map(({ domain, facts }) => {
      if (facts === null) return { domain, snapshot: null };
      const { version: _version, ...snapshot } = facts;
      return { domain, snapshot };
    }),
  });
  return { report, domains: written.map(({ domain, facts }) => ({ domain, snapshot: facts?.snapshot ?? null, rows: facts?.rows ?? 0, train: facts?.train ?? 0, heldOut: facts?.heldOut ?? 0 })) };
}

const importBody = z.strictObject({ conversations: z.array(conversationSchema.refine(({ source }) => source === "import" || source === "correction", { message: "source must be import or correction" })).min(1).max(1_000) });
const collectBody = z.strictObject({ days: z.number().min(0.01).max(3_650).optional() });
const forgetBody = selectorSchema.extend({ dryRun: z.boolean().default(false) });

export function operationRoutes(operations: Operations): Router {
  const router = Router();
  router.post("/import", handler(async (request, response) => void response.json(await operations.import(bodyOf(importBody, request).conversations))));
  router.post("/collect", handler(async (request, response) => void response.json(await operations.collect(bodyOf(collectBody, request).days))));
  router.post(
    "/forget",
    handler(async (request, response) => {
      const { dryRun, ...selector } = bodyOf(forgetBody, request);
      response.json(await operations.forget(selector, dryRun));
    }),
  );
  return router;
}

function bodyOf<T>(schema: z.ZodType<T>, request: Request): T {
  const parsed = schema.safeParse(request.body ?? {});
  if (!parsed.success) throw new EverloraError("invalid_request", describeIssues(parsed.error.issues, "body"));
  return parsed.data;
}
