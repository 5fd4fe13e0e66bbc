/** training_data/<domain>/trigger.json: what the last training job at the threshold was asked for. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../../../shared/files/atomic.ts";

const triggerFile = "trigger.json";

const triggerSchema = z.object({
  version: z.literal(1),
  /** Milliseconds since 1970. */
  at: z.int(),
  runId: z.string(),
  /** Rows in the window at that time. */
  rows: z.int(),
  /** collectedAt of the youngest of them: what is younger is new. */
  collectedUntil: z.int(),
});
export type Trigger = z.infer<typeof triggerSchema>;

/** null when there was none, or the file is damaged: then the domain is asked for again, which costs a run and loses nothing. */
export async function readTrigger(trainingData: string, domain: string): Promise<Trigger | null> {
  try {
    return triggerSchema.parse(JSON.parse(await readFile(join(trainingData, domain, triggerFile), "utf8")));
  } catch {
    return null;
  }
}

export async function writeTrigger(trainingData: string, domain: string, trigger: Trigger): Promise<void> {
  await writeFileAtomic(join(trainingData, domain, triggerFile), `${JSON.stringify(trigger)}\n`);
}
