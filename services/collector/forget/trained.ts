/** How many of these rows the runs behind an adapter were trained on: its own run's rows, and where it went on from a live adapter those behind that one. */
import { listAdapters } from "../../../shared/peft/registry.ts";
import { findRun } from "../../../shared/runs/store.ts";

/** @param ids of rows @returns per adapter "domain/generation", the number of the rows, for those with any */
export async function adaptersTrainedOn(runs: string, loras: string, ids: ReadonlySet<string>): Promise<Map<string, number>> {
  const { adapters } = await listAdapters(loras);
  const direct = new Map<string, number>();
  const parents = new Map<string, string>();
  for (const { domain, generation, manifest } of adapters) {
    const run = await findRun(runs, manifest.runId).catch(() => null);
    const own = run?.dataset?.rowIds.filter((id) => ids.has(id)).length ?? 0;
    const name = `${domain}/${generation}`;
    if (own > 0) direct.set(name, own);
    if (run !== null && run.settings.start !== "base" && run.liveBefore !== null) parents.set(name, `${domain}/${run.liveBefore}`);
  }
  const found = new Map<string, number>();
  for (const { domain, generation } of adapters) {
    let most = 0;
    const seen = new Set<string>();
    for (let name: string | undefined = `${domain}/${generation}`; name !== undefined && !seen.has(name); name = parents.get(name)) {
      seen.add(name);
      most = Math.max(most, direct.get(name) ?? 0);
    }
    if (most > 0) found.set(`${domain}/${generation}`, most);
  }
  return found;
}
