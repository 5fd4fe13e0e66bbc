/**
 * What the command line and the collector's own program say to each other: one command down, progress and faults up, and one last word. The collector's code
 * does the work because the data has one writer, and its rules are in one place; the command line shows it.
 */
import { z } from "zod";

const counts = z.record(z.string(), z.int());

export const dataCommandSchema = z.discriminatedUnion("command", [
  z.object({ command: z.literal("import"), files: z.array(z.string()).min(1), format: z.string().optional(), encoding: z.string().optional(), domain: z.string().optional(), dryRun: z.boolean() }),
  z.object({ command: z.literal("validate"), files: z.array(z.string()).min(1), format: z.string().optional(), encoding: z.string().optional() }),
  z.object({ command: z.literal("collect"), days: z.number().optional(), collectOnly: z.boolean() }),
  z.object({ command: z.literal("forget"), caller: z.array(z.string()).optional(), row: z.string().optional(), match: z.string().optional(), dryRun: z.boolean() }),
]);
export type DataCommand = z.infer<typeof dataCommandSchema>;

/** What became of the records of a batch or a file. */
export const outcomeSchema = z.object({ rows: z.int(), dropped: z.int(), known: z.int(), reasons: counts, domains: counts, anonymised: counts });
export type Outcome = z.infer<typeof outcomeSchema>;

export const emptyOutcome = (): Outcome => ({ rows: 0, dropped: 0, known: 0, reasons: {}, domains: {}, anonymised: {} });

export function addOutcome(sum: Outcome, { rows, dropped, known, ...others }: Outcome): void {
  sum.rows += rows;
  sum.dropped += dropped;
  sum.known += known;
  for (const name of ["reasons", "domains", "anonymised"] as const) for (const [key, count] of Object.entries(others[name])) sum[name][key] = (sum[name][key] ?? 0) + count;
}

const place = z.object({ line: z.int().optional(), column: z.int().optional(), record: z.int().optional(), within: z.string().optional() });
export type FaultPlace = z.infer<typeof place>;

export const importReportSchema = z.object({
  command: z.literal("import"),
  dryRun: z.boolean(),
  files: z.array(z.object({ file: z.string(), format: z.string(), records: z.int(), faults: z.int(), outcome: outcomeSchema })),
  seconds: z.number(),
});
const validateReportSchema = z.object({ command: z.literal("validate"), files: z.array(z.object({ file: z.string(), format: z.string(), records: z.int(), faults: z.int() })), seconds: z.number() });
export const collectReportSchema = z.object({ command: z.literal("collect"), found: outcomeSchema, caches: z.record(z.string(), counts), report: z.string(), domains: z.array(z.object({ domain: z.string(), snapshot: z.string().nullable(), rows: z.int(), train: z.int(), heldOut: z.int() })), triggered: z.array(z.string()) });
export const forgetReportSchema = z.object({
  command: z.literal("forget"),
  dryRun: z.boolean(),
  rows: z.int(),
  domains: counts,
  /** Snapshots and runs' copies that were written anew. */
  files: z.array(z.string()),
  /** Adapters that were trained on these rows: still there, and for a person to decide about. */
  adapters: z.array(z.object({ domain: z.string(), generation: z.string(), live: z.boolean(), run: z.string(), rows: z.int() })),
});

export const dataReportSchema = z.discriminatedUnion("command", [importReportSchema, validateReportSchema, collectReportSchema, forgetReportSchema]);
export type DataReport = z.infer<typeof dataReportSchema>;
export type ImportReport = z.infer<typeof importReportSchema>;
export type CollectReport = z.infer<typeof collectReportSchema>;
export type ForgetReport = z.infer<typeof forgetReportSchema>;

export const dataMessageSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("progress"), what: z.string(), done: z.number(), total: z.number(), records: z.int() }),
  z.object({ type: z.literal("fault"), file: z.string(), at: place, message: z.string() }),
  z.object({ type: z.literal("report"), report: dataReportSchema }),
  z.object({ type: z.literal("failed"), error: z.object({ code: z.string(), message: z.string(), param: z.string().optional(), hint: z.string() }) }),
]);
export type DataMessage = z.infer<typeof dataMessageSchema>;
