/** What every part of the trainer works with; made once, in trainer.ts. */
import type { Paths } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import type { Domain } from "../../shared/domains/domains.ts";
import type { Logger } from "../../shared/log/log.ts";
import type { Metrics } from "../../shared/metrics/metrics.ts";
import type { Redis } from "../../shared/redis/redis.ts";
import { defaultSpareBytes } from "./run/space.ts";

/** What tests change, and operators don't. */
export interface TrainerOptions {
  /** URL of a module that exports a table `trainers` (run/execute.ts). */
  readonly trainers: string;
  /** How long a run child may take to end by itself. */
  readonly graceMs: number;
  /** Free disk space that a run must leave. */
  readonly spareBytes: number;
  /** How long a job stays this trainer's without a sign of life. Short, so that a crash is seen soon. */
  readonly lockMs: number;
  /** How often to look for jobs whose trainer has vanished. */
  readonly stalledMs: number;
  /** How often to look whether somebody cancelled the run. */
  readonly cancelPollMs: number;
  /** How often to look for runs that no job will ever carry on. */
  readonly reconcileMs: number;
}

export const defaultOptions: TrainerOptions = {
  trainers: new URL("./trainers/trainers.ts", import.meta.url).href,
  graceMs: 5_000,
  spareBytes: defaultSpareBytes,
  lockMs: 15_000,
  stalledMs: 5_000,
  cancelPollMs: 1_000,
  reconcileMs: 60_000,
};

export interface TrainerContext {
  readonly settings: Settings;
  readonly paths: Paths;
  readonly domains: readonly Domain[];
  /** Of the patient profile: an outage of Redis must not end a run. */
  readonly redis: Redis;
  readonly metrics: Metrics<"trainer">;
  readonly log: Logger;
  readonly options: TrainerOptions;
}
