/** `everlora collect`: one round now. Asks the collector that is running; without one it is the collector for as long as the round takes. */
import { join } from "node:path";
import { pathsOf } from "../../../shared/config/paths.ts";
import type { Settings } from "../../../shared/config/settings.ts";
import { collectReportSchema, type DataCommand, type DataReport } from "../../../shared/datasets/commands.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { Logger } from "../../../shared/log/log.ts";
import { startCollector } from "../collector.ts";
import { acquireLock } from "../store/lock.ts";
import type { Tell } from "./run.ts";
import { postTo } from "./target.ts";

type Command = Extract<DataCommand, { command: "collect" }>;

/** @throws EverloraError conflict when --collect-only is asked of a running collector, which triggers by itself */
export async function collect({ days, collectOnly }: Command, settings: Settings, log: Logger, tell: Tell): Promise<DataReport> {
  const running = await runningCollector(join(pathsOf(settings).trainingData, ".collector.lock"));
  if (running !== null) {
    if (collectOnly && settings.ENABLE_FINE_TUNING) throw new EverloraError("conflict", `The collector at ${running} is running and asks for training by itself.`, { hint: "Leave --collect-only away, or run everything with ENABLE_FINE_TUNING=false." });
    return collectReportSchema.parse(await postTo(running, settings)("/collect", days === undefined ? {} : { days }));
  }
  await tell({ type: "progress", what: "collecting", done: 0, total: 0, records: 0 });
  const collector = await startCollector({ ...settings, COLLECTOR_PORT: 0, ...(collectOnly ? { ENABLE_FINE_TUNING: false } : {}), ...(days === undefined ? {} : { TRAINING_DATA_DAYS: Math.max(1, Math.ceil(days)) }) }, log);
  try {
    return await collector.operations.collect(days);
  } finally {
    await collector.close();
  }
}

/** Where the collector answers that holds the data, if there is one. */
async function runningCollector(lockFile: string): Promise<string | null> {
  try {
    await (await acquireLock(lockFile)).release();
    return null;
  } catch (error) {
    const url = error instanceof EverloraError && error.code === "conflict" ? error.details["url"] : undefined;
    if (typeof url === "string") return url;
    throw error;
  }
}
