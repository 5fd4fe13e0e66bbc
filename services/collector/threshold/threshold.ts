/**
 * Asks for a training job when a domain has enough rows: MIN_EXAMPLES_PER_DOMAIN in the window at first, and half as many new ones for each time after. Looked
 * at only when the readers have come to rest, so that a first scan of 500 conversations is one job with all of them. With the queue away nothing is lost:
 * the next look asks again.
 */
import type { Logger } from "pino";
import { isEnough } from "../../../shared/datasets/stats.ts";
import { windowOf } from "../../../shared/datasets/window.ts";
import type { Domain } from "../../../shared/domains/domains.ts";
import { messageOf } from "../../../shared/errors/errors.ts";
import { enqueueFineTune, type FineTuneQueue } from "../../../shared/events/queues.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import { Tally, type Counts } from "../store/tally.ts";
import { readTrigger, writeTrigger, type Trigger } from "./trigger_file.ts";

export interface ThresholdOptions {
  readonly enabled: boolean;
  readonly domains: readonly Domain[];
  /** MIN_EXAMPLES_PER_DOMAIN */
  readonly minExamples: number;
  /** TRAINING_DATA_DAYS */
  readonly days: number;
  readonly trainingData: string;
  readonly tallies: () => ReadonlyMap<string, Tally>;
  readonly queue: FineTuneQueue;
  readonly metrics: Metrics<"collector">;
  readonly log: Logger;
}

export interface Threshold {
  readonly last: ReadonlyMap<string, Trigger>;
  /** Rows in the window, and how many are needed. */
  countsOf(domain: Domain): Counts & { readonly needed: number };
  /** Looks at every domain. Never throws; looks are one after the other. */
  evaluate(): Promise<void>;
}

export async function createThreshold(options: ThresholdOptions): Promise<Threshold> {
  const { domains, trainingData, days, minExamples } = options;
  const last = new Map<string, Trigger>();
  for (const { name } of domains) {
    const trigger = await readTrigger(trainingData, name);
    if (trigger !== null) last.set(name, trigger);
  }
  let queue: Promise<void> = Promise.resolve();
  const evaluate = async (): Promise<void> => {
    if (!options.enabled) return;
    for (const domain of domains) {
      try {
        await evaluateDomain(domain, options, last);
      } catch (error) {
        options.metrics.collectorTriggers.inc({ domain: domain.name, outcome: "failed" });
        options.log.warn({ domain: domain.name, reason: messageOf(error) }, "cannot ask for a training job now; the rows are kept and it will be tried again");
      }
    }
  };
  return {
    last,
    countsOf: (domain) => ({ ...(options.tallies().get(domain.name) ?? new Tally()).inWindow(windowOf(days, Date.now())), needed: domain.minExamples ?? minExamples }),
    evaluate() {
      queue = queue.then(evaluate);
      return queue;
    },
  };
}

async function evaluateDomain(domain: Domain, options: ThresholdOptions, last: Map<string, Trigger>): Promise<void> {
  const { days, minExamples, trainingData, queue, metrics, log } = options;
  const tally = options.tallies().get(domain.name);
  if (tally === undefined) return;
  const window = windowOf(days, Date.now());
  const counts = tally.inWindow(window);
  const needed = domain.minExamples ?? minExamples;
  if (!isEnough(counts, needed)) return;
  const before = last.get(domain.name);
  if (before !== undefined && tally.newSince(before.collectedUntil, window) < Math.max(1, Math.ceil(needed / 2))) return;

  const collectedUntil = tally.lastCollected;
  const { added, runId } = await enqueueFineTune(queue, { domain: domain.name, reason: "threshold" });
  if (!added && !(await willSee(queue, runId, collectedUntil))) {
    metrics.collectorTriggers.inc({ domain: domain.name, outcome: "busy" });
    return; // a run without these rows is going on; they are asked for after it
  }
  const trigger: Trigger = { version: 1, at: Date.now(), runId, rows: counts.rows, collectedUntil };
  await writeTrigger(trainingData, domain.name, trigger);
  last.set(domain.name, trigger);
  tally.forgetBefore(collectedUntil);
  metrics.collectorTriggers.inc({ domain: domain.name, outcome: added ? "added" : "already_asked" });
  log.info({ domain: domain.name, runId, rows: counts.rows, needed }, added ? "asked for a training job" : "a training job for these rows is there already");
}

/** Does the job that is there already take the rows collected until then? One that has not begun does, one that began later than they came too. */
async function willSee(queue: FineTuneQueue, runId: string, collectedUntil: number): Promise<boolean> {
  const job = await queue.getJob(runId);
  if (job === undefined) return false;
  return job.processedOn === undefined || job.processedOn > collectedUntil;
}
