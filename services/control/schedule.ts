/**
 * The automatic cycle: every AUTO_TRAINING_INTERVAL days each domain that has enough rows, and new ones since its last run, gets a job. When the last
 * cycle was is kept on disk, so that a restart doesn't begin the count anew; a cron tick each minute asks whether the next one is due.
 * Several controls over one data folder are safe: a key in Redis lets one of them do it, and the queue holds one job a domain anyway.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import cron, { type ScheduledTask } from "node-cron";
import { z } from "zod";
import { loadRows } from "../../shared/datasets/rows.ts";
import { windowOf } from "../../shared/datasets/window.ts";
import type { Domain } from "../../shared/domains/domains.ts";
import { messageOf } from "../../shared/errors/errors.ts";
import { enqueueFineTune } from "../../shared/events/queues.ts";
import { writeFileAtomic } from "../../shared/files/atomic.ts";
import { lastRun } from "../../shared/runs/store.ts";
import type { ControlContext } from "./context.ts";
import { supplyOf } from "./enough.ts";

const stateSchema = z.object({ version: z.literal(1), lastCycleAt: z.int().nonnegative() });
const millisecondsOfADay = 86_400_000;
/** A control that dies in mid-cycle keeps the others off for so long; what it added already is not added twice. */
const slotSeconds = 600;

export type DomainOutcome = "added" | "exists" | "too_few" | "nothing_new";
export interface Cycle {
  readonly at: number;
  readonly domains: Readonly<Record<string, DomainOutcome>>;
}

export class Schedule {
  readonly #context: ControlContext;
  readonly #file: string;
  #task: ScheduledTask | undefined;

  constructor(context: ControlContext) {
    this.#context = context;
    this.#file = join(context.paths.state, "schedule.json");
  }

  /** Begins to tick. The first cycle comes an interval after the very first start. */
  async start(): Promise<void> {
    if (!this.#enabled) return;
    await this.#lastCycleAt(Date.now());
    this.#task = cron.schedule("* * * * *", () => this.tick(Date.now()), { noOverlap: true });
  }

  async stop(): Promise<void> {
    await this.#task?.destroy();
  }

  async describe(): Promise<{ intervalDays: number; lastCycleAt: number; nextCycleAt: number } | null> {
    if (!this.#enabled) return null;
    const lastCycleAt = await this.#lastCycleAt(Date.now());
    return { intervalDays: this.#context.settings.AUTO_TRAINING_INTERVAL, lastCycleAt, nextCycleAt: lastCycleAt + this.#intervalMs };
  }

  /** One tick of the cron; never throws, the next tick tries again. */
  async tick(now: number): Promise<void> {
    const { metrics, log } = this.#context;
    try {
      const cycle = await this.runIfDue(now);
      if (cycle === null) return;
      metrics.cronRuns.inc({ outcome: "ran" });
      log.info({ domains: cycle.domains }, "automatic training cycle");
    } catch (error) {
      metrics.cronRuns.inc({ outcome: "failed" });
      log.error({ reason: messageOf(error) }, "the automatic training cycle failed; it is tried again in a minute");
    }
  }

  /** @returns null when no cycle is due, or when another control does it */
  async runIfDue(now: number): Promise<Cycle | null> {
    if (!this.#enabled) return null;
    const last = await this.#lastCycleAt(now);
    if (now < last + this.#intervalMs) return null;
    const slot = `everlora:schedule:${last}`;
    if ((await this.#context.redis.set(slot, String(process.pid), "EX", slotSeconds, "NX")) === null) return null;
    try {
      const domains: Record<string, DomainOutcome> = {};
      for (const domain of this.#context.domains) domains[domain.name] = await this.#consider(domain, now);
      await this.#write(now);
      return { at: now, domains };
    } catch (error) {
      await this.#context.redis.del(slot).catch(() => 0);
      throw error;
    }
  }

  async #consider(domain: Domain, now: number): Promise<DomainOutcome> {
    const context = this.#context;
    const outcome = await this.#enqueue(domain, now);
    if (outcome === "added" || outcome === "exists") context.metrics.triggers.inc({ reason: "schedule", outcome });
    return outcome;
  }

  async #enqueue(domain: Domain, now: number): Promise<DomainOutcome> {
    const context = this.#context;
    if (!(await supplyOf(context, domain, now)).enough) return "too_few";
    const last = await lastRun(context.paths.runs, domain.name, ["published", "rejected"]);
    const seen = new Set(last?.dataset?.rowIds ?? []);
    const rows = await loadRows(context.paths.trainingData, domain.name, windowOf(context.settings.TRAINING_DATA_DAYS, now));
    if (rows.every((row) => seen.has(row.id))) return "nothing_new";
    const { added } = await enqueueFineTune(context.queue, { domain: domain.name, reason: "schedule" });
    return added ? "added" : "exists";
  }

  get #enabled(): boolean {
    const { ENABLE_FINE_TUNING, AUTO_TRAINING_INTERVAL } = this.#context.settings;
    return ENABLE_FINE_TUNING && AUTO_TRAINING_INTERVAL > 0;
  }

  get #intervalMs(): number {
    return this.#context.settings.AUTO_TRAINING_INTERVAL * millisecondsOfADay;
  }

  /** When nothing is known (first start, damaged file) the count begins now: a cycle too late is better than one nobody expects. */
  async #lastCycleAt(now: number): Promise<number> {
    let text: string | undefined;
    try {
      text = await readFile(this.#file, "utf8");
      return stateSchema.parse(JSON.parse(text)).lastCycleAt;
    } catch (error) {
      if (text !== undefined) this.#context.log.warn({ file: this.#file, reason: messageOf(error) }, "the schedule's state is damaged; the interval begins anew");
      await this.#write(now);
      return now;
    }
  }

  async #write(lastCycleAt: number): Promise<void> {
    await writeFileAtomic(this.#file, `${JSON.stringify({ version: 1, lastCycleAt })}\n`);
  }
}
