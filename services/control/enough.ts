/** How much each domain has to be trained on: the counts that triggers, the schedule and the status page all judge by. */
import { datasetStats, isEnough, type DatasetStats } from "../../shared/datasets/stats.ts";
import { windowOf } from "../../shared/datasets/window.ts";
import type { Domain } from "../../shared/domains/domains.ts";
import type { ControlContext } from "./context.ts";

export interface Supply {
  readonly domain: string;
  readonly rows: number;
  readonly train: number;
  readonly heldOut: number;
  /** Rows that the domain needs. */
  readonly needed: number;
  readonly enough: boolean;
  /** Enough to be trained and tested at all, as `force` asks for. */
  readonly enoughByForce: boolean;
}

export async function supplyOf(context: ControlContext, domain: Domain, now = Date.now()): Promise<Supply> {
  return supplyIn(context, domain, await statsOf(context, domain.name, now));
}

/** The same from counts that are at hand. */
export function supplyIn(context: ControlContext, domain: Domain, { rows, train, heldOut }: Pick<DatasetStats, "rows" | "train" | "heldOut">): Supply {
  const needed = domain.minExamples ?? context.settings.MIN_EXAMPLES_PER_DOMAIN;
  const counts = { rows, train, heldOut };
  return { domain: domain.name, ...counts, needed, enough: isEnough(counts, needed), enoughByForce: isEnough(counts, 1) };
}

export function statsOf(context: ControlContext, domain: string, now = Date.now()): Promise<DatasetStats> {
  return datasetStats(context.paths.trainingData, domain, windowOf(context.settings.TRAINING_DATA_DAYS, now));
}
