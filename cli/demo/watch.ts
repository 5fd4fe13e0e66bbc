/** Waits for the loop to turn, by looking only: the collector's and control's status, over and over, until every domain with enough rows has its run. */
import { finalStates, type RunState } from "../../shared/runs/run.ts";
import type { CollectorView, ControlView, DemoClient } from "./client.ts";

export interface DomainView {
  readonly domain: string;
  readonly found: number;
  readonly rows: number;
  readonly needed: number;
  readonly state: RunState | "collecting" | "waiting";
  /** Of the run in progress. */
  readonly progress: { readonly step: number; readonly steps: number; readonly loss: number | null } | null;
}

export interface View {
  /** Conversations that the collector has dealt with, of all that were put there. */
  readonly collected: number;
  readonly total: number;
  readonly domains: readonly DomainView[];
  /** Every domain with enough rows has a run that ended. */
  readonly finished: boolean;
}

const lookMs = 250;

/**
 * @param total how many conversations there are to be dealt with
 * @param deadline milliseconds since 1970; then the last view is returned as it is
 */
export async function watch(client: DemoClient, total: number, deadline: number, onView: (view: View) => void, signal: AbortSignal): Promise<View> {
  for (;;) {
    const view = viewOf(await client.collector(), await client.control(), total);
    onView(view);
    if (view.finished || Date.now() >= deadline) return view;
    await new Promise((resolve) => setTimeout(resolve, lookMs));
    signal.throwIfAborted();
  }
}

export function viewOf(collector: CollectorView, control: ControlView, total: number): View {
  const collected = collector.domains.reduce((sum, { found }) => sum + found, 0) + (collector.scanner.lastScan?.faulty ?? 0);
  const domains = collector.domains.map((counted): DomainView => {
    const { lastRun, job } = control.domains.find(({ domain }) => domain === counted.domain) ?? { lastRun: null, job: null };
    const state = lastRun?.state ?? (job === null ? "collecting" : "waiting");
    return { domain: counted.domain, found: counted.found, rows: counted.rows.inWindow, needed: counted.needed, state, progress: lastRun?.progress ?? null };
  });
  const enough = domains.filter(({ rows, needed }) => rows >= needed);
  const ended = (state: DomainView["state"]) => finalStates.some((final) => final === state);
  return { collected, total, domains, finished: collected >= total && enough.every(({ state }) => ended(state)) };
}
