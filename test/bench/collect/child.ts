/** The measured process of the bench `collect`: told one task, tells what it took. */
import { z } from "zod";
import { createAnonymiser } from "../../../shared/anonymise/anonymiser.ts";
import { loadSettings } from "../../../shared/config/settings.ts";
import { addOutcome, emptyOutcome } from "../../../shared/datasets/commands.ts";
import { loadDomains } from "../../../shared/domains/domains.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { createMetrics } from "../../../shared/metrics/metrics.ts";
import { startCollector } from "../../../services/collector/collector.ts";
import { importFiles } from "../../../services/collector/command/import.ts";
import { createIntake } from "../../../services/collector/intake.ts";
import { openStore } from "../../../services/collector/store/store.ts";
import { conversations } from "../cases/collect.ts";

const taskSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("redis"), url: z.string(), folder: z.string() }),
  z.object({ kind: z.literal("memory"), folder: z.string(), count: z.number() }),
  z.object({ kind: z.literal("import"), folder: z.string(), file: z.string() }),
]);

process.once("message", (message: unknown) => {
  void run(taskSchema.parse(message)).then((result) => process.send?.(result, () => process.exit(0)));
});

async function run(task: z.infer<typeof taskSchema>): Promise<Record<string, unknown>> {
  const settings = loadSettings({ DATA_DIR: task.folder, COLLECTOR_PORT: "0", EVERLORA_API_KEY: "key-of-the-bench-collect", MIN_EXAMPLES_PER_DOMAIN: "10000000", ENABLE_FINE_TUNING: "false", ...(task.kind === "redis" ? { REDIS_URL: task.url } : {}) });
  const cpu = process.cpuUsage();
  const began = performance.now();
  const done = (rest: { rows: number; found: number; reasons: Record<string, number>; rss?: number[] }) => {
    const { user, system } = process.cpuUsage(cpu);
    return { seconds: (performance.now() - began) / 1_000, cpuSeconds: (user + system) / 1e6, maxRss: process.resourceUsage().maxRSS * 1_024, rss: [], ...rest };
  };
  if (task.kind === "redis") {
    const collector = await startCollector(settings, silentLogger);
    const { domains, found } = await collector.operations.collect(undefined);
    const result = done({ rows: domains.reduce((sum, { rows }) => sum + rows, 0), found: found.rows + found.dropped, reasons: {} });
    await collector.close();
    return result;
  }
  if (task.kind === "import") {
    const report = await importFiles({ command: "import", files: [task.file], dryRun: false }, settings, silentLogger, async () => undefined);
    const outcome = emptyOutcome();
    let records = 0;
    if (report.command === "import") for (const file of report.files) {
      addOutcome(outcome, file.outcome);
      records += file.records;
    }
    return done({ rows: outcome.rows, found: records, reasons: outcome.reasons });
  }
  const domains = loadDomains();
  const store = await openStore(`${task.folder}/training_data`, domains.map(({ name }) => name), silentLogger);
  const intake = createIntake(store, { anonymiser: createAnonymiser(), domains, heldOutShare: 0.15, days: 30 }, createMetrics("collector"), silentLogger);
  const next = await conversations(200);
  const outcome = emptyOutcome();
  const rss: number[] = [];
  const batch = 1_000;
  for (let at = 0; at < task.count; at += batch) {
    addOutcome(outcome, await intake.collect("stream", Array.from({ length: Math.min(batch, task.count - at) }, (_, number) => next(at + number))));
    if (Math.floor((10 * (at + batch)) / task.count) > rss.length) {
      globalThis.gc?.();
      rss.push(process.memoryUsage.rss());
    }
  }
  return done({ rows: outcome.rows, found: task.count, reasons: outcome.reasons, rss });
}
