/** What every part of control works with; made once, in control.ts. */
import type { Paths } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import type { Domain } from "../../shared/domains/domains.ts";
import type { FineTuneQueue } from "../../shared/events/queues.ts";
import type { Logger } from "../../shared/log/log.ts";
import type { Metrics } from "../../shared/metrics/metrics.ts";
import type { Redis } from "../../shared/redis/redis.ts";

/** What tests change, and operators don't. */
export interface ControlOptions {
  /** How often an open log stream looks for new lines. */
  readonly logPollMs: number;
  /** How often an open stream that is quiet sends a comment, so that proxies keep it open. */
  readonly heartbeatMs: number;
}

export const defaultOptions: ControlOptions = { logPollMs: 500, heartbeatMs: 15_000 };

export interface ControlContext {
  readonly settings: Settings;
  readonly paths: Paths;
  readonly domains: readonly Domain[];
  /** Of the failFast profile: with Redis away a request gets 503 at once. */
  readonly redis: Redis;
  readonly queue: FineTuneQueue;
  readonly metrics: Metrics<"control">;
  readonly log: Logger;
  readonly options: ControlOptions;
}
