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
  z.object({ kind: z.literal("memory"), folder: z.string(), count: z.number(), seconds: z.number() }),
  z.object({ kind: z.literal("start"), folder: z.string() }),
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
  if (task.kind === "start") {
    const store = await openStore(`${task.folder}/training_data`, domains.map(({ name }) => name), silentLogger);
    const rows = [...store.tallies.values()].reduce((sum, { counts }) => sum + counts.rows, 0);
    return done({ rows, found: rows, reasons: {}, rss: [process.memoryUsage.rss()] });
  }
  const store = await openStore(`${task.folder}/training_data`, domains.map(({ name }) => name), silentLogger);
  const intake = createIntake(store, { anonymiser: createAnonymiser(), domains, heldOutShare: 0.15, days: 30 }, createMetrics("collector"), silentLogger);
  const next = await conversations(200);
  const outcome = emptyOutcome();
  const rss: number[] = [];
  const batch = 1_000;
  let found = 0;
  while (found < task.count && performance.now() - began < task.seconds * 1_000) {
    addOutcome(outcome, await intake.collect("stream", Array.from({ length: Math.min(batch, task.count - found) }, (_, number) => next(found + number))));
    found += batch;
    if (found % everyRows !== 0) continue;
    globalThis.gc?.();
    rss.push(process.memoryUsage.rss());
    process.stderr.write(`  ${found} conversations, ${outcome.rows} rows: ${Math.round(process.memoryUsage.rss() / 1e6)} MB, ${((performance.now() - began) / 1_000).toFixed(0)} s, ${(process.cpuUsage(cpu).user / 1e6).toFixed(0)} s of CPU\n`);
  }
  await store.save("at the end");
  return done({ rows: outcome.rows, found, reasons: outcome.reasons, rss });
}

/** The memory is looked at after each so many conversations. */
const everyRows = 50_000;
