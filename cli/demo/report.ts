/** The demo's result, read from the files that it left: rows, ledgers of drops, records of runs, pointers. Only times of first answers are measured. */
import { readdir } from "node:fs/promises";
import type { Paths } from "../../shared/config/paths.ts";
import { readDrops } from "../../shared/datasets/drops.ts";
import type { Row } from "../../shared/datasets/row.ts";
import { readRows, rowsPath } from "../../shared/datasets/rows.ts";
import { readLive } from "../../shared/peft/registry.ts";
import type { Run } from "../../shared/runs/run.ts";
import { lastRun } from "../../shared/runs/store.ts";
import type { FirstAnswer } from "./prober.ts";

export interface RunReport {
  readonly id: string;
  readonly state: Run["state"];
  readonly seconds: number | null;
  readonly rows: { readonly train: number; readonly heldOut: number } | null;
  readonly steps: number | null;
  readonly losses: Run["losses"];
  readonly heldOut: { readonly base: number; readonly adapter: number; readonly rows: number; readonly tokens: number } | null;
  readonly general: { readonly base: number; readonly adapter: number; readonly tolerance: number } | null;
  readonly decision: "publish" | "reject" | null;
  readonly reasons: readonly string[];
  readonly error: string | null;
}

export interface DomainReport {
  readonly domain: string;
  /** Conversations: rows and drops. */
  readonly found: number;
  readonly dropped: Readonly<Record<string, number>>;
  readonly rows: { readonly total: number; readonly train: number; readonly heldOut: number };
  /** Personal data replaced in the rows, by kind. */
  readonly anonymised: Readonly<Record<string, number>>;
  /** null when it did not get as far. */
  readonly run: RunReport | null;
  /** The generation that answers; null while the base does. */
  readonly live: { readonly generation: string; readonly since: number; readonly firstAnswerMs: number | null } | null;
}

export async function domainReports(paths: Paths, firstAnswers: readonly FirstAnswer[]): Promise<DomainReport[]> {
  const names = await readdir(paths.trainingData, { withFileTypes: true });
  const domains = names.filter((entry) => entry.isDirectory() && !entry.name.startsWith(".")).map(({ name }) => name);
  return Promise.all(domains.sort().map((domain) => domainReport(domain, paths, firstAnswers)));
}

async function domainReport(domain: string, paths: Paths, firstAnswers: readonly FirstAnswer[]): Promise<DomainReport> {
  const rows = await rowsOf(paths.trainingData, domain);
  const dropped = await dropsOf(paths.trainingData, domain);
  const run = await lastRun(paths.runs, domain);
  const live = await readLive(paths.loras, domain);
  const heldOut = rows.filter(({ split }) => split === "held-out").length;
  return {
    domain,
    found: rows.length + sum(dropped),
    dropped,
    rows: { total: rows.length, train: rows.length - heldOut, heldOut },
    anonymised: total(rows.map(({ anonymised }) => anonymised)),
    run: run === null ? null : runReport(run),
    live: live?.generation == null ? null : { generation: live.generation, since: live.since, firstAnswerMs: firstAnswers.find(({ generation }) => generation === live.generation)?.milliseconds ?? null },
  };
}

function runReport(run: Run): RunReport {
  const { gate } = run;
  return {
    id: run.id,
    state: run.state,
    seconds: run.startedAt === null || run.finishedAt === null ? null : Math.round((run.finishedAt - run.startedAt) / 100) / 10,
    rows: run.dataset === null ? null : { train: run.dataset.train, heldOut: run.dataset.heldOut },
    steps: run.progress?.steps ?? null,
    losses: run.losses,
    heldOut: gate === null ? null : { base: gate.heldOut.base, adapter: gate.heldOut.adapter, rows: gate.heldOut.rows, tokens: gate.heldOut.tokens },
    general: gate === null ? null : { base: gate.general.base, adapter: gate.general.adapter, tolerance: gate.general.tolerance },
    decision: gate?.decision ?? null,
    reasons: gate?.reasons ?? [],
    error: run.error === null ? null : `${run.error.message} (${run.error.hint})`,
  };
}

export async function rowsOf(trainingData: string, domain: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of readRows(rowsPath(trainingData, domain))) rows.push(row);
  return rows;
}

/** The ledger's lines by reason, and the sums of those that it has folded. */
async function dropsOf(trainingData: string, domain: string): Promise<Record<string, number>> {
  const { lines, folded } = await readDrops(trainingData, domain);
  return total([folded, ...lines.map(({ reason }) => ({ [reason]: 1 }))]);
}

const sum = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((all, count) => all + count, 0);

function total(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const one of counts) for (const [name, count] of Object.entries(one)) all[name] = (all[name] ?? 0) + count;
  return all;
}
