/**
 * Erasure: takes rows out of everything that holds their texts (rows.jsonl, snapshots, the copies of ended runs) and says which adapters were trained on them.
 * What is left of a row is its id in the records of runs, which is a digest of anonymised text, and a line in drops.jsonl, so that it does not come again.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Paths } from "../../../shared/config/paths.ts";
import type { ForgetReport } from "../../../shared/datasets/commands.ts";
import { removeRowsFrom } from "../../../shared/datasets/remove.ts";
import type { Row } from "../../../shared/datasets/row.ts";
import { readRows, rowsPath } from "../../../shared/datasets/rows.ts";
import { listSnapshots, manifestFile, readManifest, snapshotDataFile, writeManifest } from "../../../shared/datasets/snapshots.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { callersNamed } from "../../../shared/events/caller.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { listAdapters, readLive } from "../../../shared/peft/registry.ts";
import { datasetFile } from "../../../shared/runs/run.ts";
import type { Store } from "../store/store.ts";
import { adaptersTrainedOn } from "./trained.ts";

/** All that are named must hold. */
export const selectorSchema = z.strictObject({
  /** As a row has it: the digest of the caller; or what the caller was called, which is made one here. Several names of one person, as an array. */
  caller: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(16)]).optional(),
  /** A row's id or its conversation's. */
  row: z.string().min(1).optional(),
  /** Text that stands in one of its messages, whatever its case. */
  match: z.string().min(3).optional(),
});
export type Selector = z.infer<typeof selectorSchema>;

export interface ForgetRequest {
  readonly paths: Pick<Paths, "trainingData" | "runs" | "loras">;
  readonly store: Store;
  readonly selector: Selector;
  readonly dryRun: boolean;
  readonly now: number;
  /** Of the gateway: a caller's digest has it in it. */
  readonly apiKey: string;
}

/** @throws EverloraError unprocessable when nothing is named: that would be everything */
export async function forgetRows({ paths, store, selector, dryRun, now, apiKey }: ForgetRequest): Promise<ForgetReport> {
  const which = predicateOf(selector, apiKey);
  const domains = [...store.tallies.keys()];
  // Snapshots and runs may hold rows that are in rows.jsonl no more; they are looked through by themselves.
  const files = await filesWith(paths, domains, which);
  const rows = dryRun ? await findRows(paths.trainingData, domains, which) : await store.remove("forgotten", which, now);
  const ids = new Set([...rows.map(({ id }) => id), ...files.flatMap((file) => file.ids)]);
  const adapters = await adaptersOf(paths, ids);
  if (!dryRun) for (const file of files) await rewrite(file.path, which);
  const counts: Record<string, number> = {};
  for (const { domain } of rows) counts[domain] = (counts[domain] ?? 0) + 1;
  return { command: "forget", dryRun, rows: rows.length, domains: counts, files: files.map(({ path }) => path), adapters };
}

function predicateOf({ caller, row, match }: Selector, apiKey: string): (row: Row) => boolean {
  if (caller === undefined && row === undefined && match === undefined) throw new EverloraError("unprocessable", "Nothing says which rows to forget.", { hint: "Name --caller, --row or --match." });
  const callers = new Set(caller === undefined ? [] : callersNamed([caller].flat(), apiKey));
  const words = match?.toLowerCase();
  const says = (each: Row) => each.messages.some((message) => `${textOf(message)} ${message.tool_calls === undefined ? "" : JSON.stringify(message.tool_calls)}`.toLowerCase().includes(words ?? ""));
  return (each) => (caller === undefined || callers.has(each.caller)) && (row === undefined || each.id === row || each.conversation === row) && (words === undefined || says(each));
}

async function findRows(trainingData: string, domains: readonly string[], which: (row: Row) => boolean): Promise<Row[]> {
  const found: Row[] = [];
  for (const domain of domains) for await (const row of readRows(rowsPath(trainingData, domain))) if (which(row)) found.push(row);
  return found;
}

interface Holder {
  readonly path: string;
  readonly ids: readonly string[];
}

async function filesWith({ trainingData, runs }: ForgetRequest["paths"], domains: readonly string[], which: (row: Row) => boolean): Promise<Holder[]> {
  const paths: string[] = [];
  for (const domain of domains) for (const version of await listSnapshots(trainingData, domain)) paths.push(join(trainingData, domain, version, snapshotDataFile));
  for (const run of await readdir(runs).catch(() => [])) paths.push(join(runs, run, datasetFile));
  const holders: Holder[] = [];
  for (const path of paths) {
    const ids: string[] = [];
    for await (const row of readRows(path)) if (which(row)) ids.push(row.id);
    if (ids.length > 0) holders.push({ path, ids });
  }
  return holders;
}

/** A snapshot's manifest tells the truth about its file again; a run's record keeps the hash of what it was trained on. */
async function rewrite(path: string, which: (row: Row) => boolean): Promise<void> {
  const removed = await removeRowsFrom(path, which);
  if (!path.endsWith(`/${snapshotDataFile}`)) return;
  const folder = join(path, "..");
  const manifest = await readManifest(folder).catch(() => null);
  if (manifest === null) return;
  const gone = new Set(removed.map(({ id }) => id));
  const heldOut = removed.filter(({ split }) => split === "held-out").length;
  const { rowIds, ...facts } = manifest;
  await writeManifest(join(folder, manifestFile), { ...facts, rows: facts.rows - removed.length, train: facts.train - removed.length + heldOut, heldOut: facts.heldOut - heldOut, sha256: await hashOf(path), bytes: (await stat(path)).size, forgotten: facts.forgotten + removed.length }, rowIds.filter((id) => !gone.has(id)));
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex");
}

async function adaptersOf({ runs, loras }: ForgetRequest["paths"], ids: ReadonlySet<string>): Promise<ForgetReport["adapters"]> {
  if (ids.size === 0) return [];
  const trained = await adaptersTrainedOn(runs, loras, ids);
  const { adapters } = await listAdapters(loras);
  const found: ForgetReport["adapters"] = [];
  for (const { domain, generation, manifest } of adapters) {
    const rows = trained.get(`${domain}/${generation}`) ?? 0;
    if (rows > 0) found.push({ domain, generation, live: (await readLive(loras, domain))?.generation === generation, run: manifest.runId, rows });
  }
  return found;
}
