/**
 * training_data/<domain>/drops.jsonl: one line for each conversation that became no row: a hash of its id, the reason, the time. It makes counts survive a
 * restart, and a dropped conversation be dropped once. Lines that nothing can ask for again are folded into sums, so that the file stays small.
 */
import { join } from "node:path";
import { z } from "zod";
import { readLines } from "./lines.ts";
import { appendLinesSynced, writeFileAtomic } from "../files/atomic.ts";

export const dropsFile = "drops.jsonl";

const dropSchema = z.object({ conversation: z.string().regex(/^[0-9a-f]{32}$/), reason: z.string(), at: z.int() });
export type Drop = z.infer<typeof dropSchema>;
const foldedSchema = z.object({ folded: z.record(z.string(), z.int()) });

/** Longer than a cache entry may live (CACHE_TTL's upper bound is 30 days): an older conversation can't be met again. */
export const keptDays = 31;
/** So many old lines are worth writing the file anew. */
export const foldFrom = 10_000;

export interface Drops {
  readonly lines: Drop[];
  /** Sums of the lines that are gone, by reason. */
  readonly folded: Record<string, number>;
  readonly faults: number;
}

/** @param from see readLines */
export async function readDrops(trainingData: string, domain: string, from = 0): Promise<Drops> {
  const drops: { lines: Drop[]; folded: Record<string, number>; faults: number } = { lines: [], folded: {}, faults: 0 };
  for await (const { text } of readLines(join(trainingData, domain, dropsFile), from)) {
    const value = parse(text);
    const line = dropSchema.safeParse(value);
    const folded = foldedSchema.safeParse(value);
    if (line.success) drops.lines.push(line.data);
    else if (folded.success) for (const [reason, count] of Object.entries(folded.data.folded)) drops.folded[reason] = (drops.folded[reason] ?? 0) + count;
    else drops.faults++;
  }
  return drops;
}

/** How many were dropped since `from`, by reason, in constant memory. Those that were folded into sums are older than any window of theirs. */
export async function countDrops(trainingData: string, domain: string, from: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for await (const { text } of readLines(join(trainingData, domain, dropsFile))) {
    const line = dropSchema.safeParse(parse(text));
    if (line.success && line.data.at >= from) counts[line.data.reason] = (counts[line.data.reason] ?? 0) + 1;
  }
  return counts;
}

/** @param endsWhole see appendLinesSynced */
export async function appendDrops(trainingData: string, domain: string, drops: readonly Drop[], endsWhole = false): Promise<void> {
  await appendLinesSynced(join(trainingData, domain, dropsFile), drops.map((drop) => JSON.stringify(drop)), endsWhole);
}

/** Rewrites a large file with its old lines as sums. Call only where nobody appends. */
export async function foldDrops(trainingData: string, domain: string, { lines, folded }: Drops, now: number): Promise<Drops> {
  const oldest = now - keptDays * 86_400_000;
  const old = lines.filter((line) => line.at < oldest);
  if (old.length < foldFrom) return { lines, folded, faults: 0 };
  const sums = { ...folded };
  for (const { reason } of old) sums[reason] = (sums[reason] ?? 0) + 1;
  const kept = lines.filter((line) => line.at >= oldest);
  await writeFileAtomic(join(trainingData, domain, dropsFile), [{ folded: sums }, ...kept].map((line) => `${JSON.stringify(line)}\n`).join(""));
  return { lines: kept, folded: sums, faults: 0 };
}

function parse(text: string | null): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}
