/** training_data/training_data_<time>.json: what one collection or import came to, for people and their scripts. Counts and names only. */
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../files/atomic.ts";
import { snapshotManifestSchema } from "./snapshots.ts";

const counts = z.record(z.string(), z.int());

export const datasetReportSchema = z.object({
  version: z.literal(1),
  /** ISO 8601, UTC. */
  createdAt: z.string(),
  days: z.number(),
  domains: z.array(
    z.object({
      domain: z.string(),
      /** null: no rows in the window. */
      snapshot: snapshotManifestSchema.omit({ rowIds: true, version: true }).nullable(),
    }),
  ),
  /** Other programs' caches, by layout: how many entries could be used, had no prompt, or could not be read. */
  caches: z.record(z.string(), counts),
});
export type DatasetReport = z.infer<typeof datasetReportSchema>;

/** 20261120T150412Z. */
export const fileTime = (at: number) => new Date(at).toISOString().replace(/[-:]|\.\d+/g, "");

/** @returns the file's path */
export async function writeDatasetReport(trainingData: string, report: DatasetReport): Promise<string> {
  const path = join(trainingData, `training_data_${fileTime(Date.parse(report.createdAt))}.json`);
  await writeFileAtomic(path, `${JSON.stringify(report, null, 1)}\n`);
  return path;
}
