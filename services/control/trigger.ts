/** Asking for training jobs: which domains get one, and what is said about those that don't. Used by POST /fine-tune/trigger. */
import { requireDomain, type Domain } from "../../shared/domains/domains.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { enqueueFineTune, type TrainingOverrides } from "../../shared/events/queues.ts";
import type { ControlContext } from "./context.ts";
import { supplyOf, type Supply } from "./enough.ts";

export interface TriggerRequest {
  /** Without it: every domain that has enough. */
  readonly domain?: string | undefined;
  /** Train with fewer rows than the threshold. */
  readonly force: boolean;
  readonly config: TrainingOverrides;
}

export interface Triggered {
  readonly jobs: readonly { readonly runId: string; readonly domain: string; readonly rows: number }[];
  /** Domains whose job was there already. */
  readonly existing: readonly { readonly runId: string; readonly domain: string }[];
  /** Domains that have too few rows. */
  readonly skipped: readonly Omit<Supply, "enough" | "enoughByForce">[];
}

/**
 * @throws EverloraError fine_tuning_disabled, unknown_domain, too_few_examples (with the counts), job_exists (with the id of the job) when nothing at all
 *   could be added
 */
export async function trigger(context: ControlContext, request: TriggerRequest): Promise<Triggered> {
  const count = (outcome: string) => context.metrics.triggers.inc({ reason: "manual", outcome });
  if (!context.settings.ENABLE_FINE_TUNING) {
    count("disabled");
    throw new EverloraError("fine_tuning_disabled", "Fine-tuning is switched off: ENABLE_FINE_TUNING=false.", { param: "ENABLE_FINE_TUNING" });
  }
  const domains: readonly Domain[] = request.domain === undefined ? context.domains : [requireDomain(request.domain, context.domains)];
  const jobs: Triggered["jobs"][number][] = [];
  const existing: Triggered["existing"][number][] = [];
  const skipped: Triggered["skipped"][number][] = [];
  for (const domain of domains) {
    const { enough, enoughByForce, ...supply } = await supplyOf(context, domain);
    if (!(request.force ? enoughByForce : enough)) {
      skipped.push(supply);
      count("too_few");
      continue;
    }
    const enqueued = await enqueueFineTune(context.queue, { domain: domain.name, reason: "manual", force: request.force, overrides: request.config });
    count(enqueued.added ? "added" : "exists");
    if (enqueued.added) jobs.push({ runId: enqueued.runId, domain: domain.name, rows: supply.rows });
    else existing.push({ runId: enqueued.runId, domain: domain.name });
  }
  if (jobs.length > 0) return { jobs, existing, skipped };
  const [first] = existing;
  if (first !== undefined) throw new EverloraError("job_exists", `${first.domain} has a job already: ${first.runId}.`, { param: "domain", hint: `Wait for it (GET /runs/${first.runId}), or cancel it (POST /runs/${first.runId}/cancel).`, details: { jobs: existing, skipped } });
  throw tooFew(request, skipped);
}

function tooFew(request: TriggerRequest, skipped: Triggered["skipped"]): EverloraError {
  const [only] = skipped;
  const details = { counts: skipped };
  if (request.domain === undefined || only === undefined) return new EverloraError("too_few_examples", "No domain has enough rows.", { details });
  if (only.rows < only.needed && !request.force) return new EverloraError("too_few_examples", `Domain ${only.domain} has ${only.rows} rows and needs ${only.needed}.`, { param: "domain", details });
  return new EverloraError("too_few_examples", `Domain ${only.domain} has ${only.train} rows to train on and ${only.heldOut} to test with; a run needs at least 1 and 2.`, {
    param: "domain",
    hint: "Collect more conversations; force doesn't help, because an adapter that can't be tested can't go live.",
    details,
  });
}
