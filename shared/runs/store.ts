/**
 * Reading and writing runs/: the only code that knows how a run's folder is laid out and kept whole. Not responsible for what a run's
 * states mean, nor for who may write when (that is the trainer's business; see the fence in `replaceRun`).
 */
import { readFile, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { EverloraError, describeIssues } from "../errors/errors.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import { checkpointFile, finalStates, runFile, runIdSchema, runSchema, type Run, type RunState } from "./run.ts";

/**
 * The folder of a run, which need not exist. Every path into runs/ is made here, from ids that can't climb out of it.
 * @throws EverloraError run_not_found when `id` can't be a run's id
 */
export function runFolder(runs: string, id: string): string {
  if (!runIdSchema.safeParse(id).success) throw new EverloraError("run_not_found", `There is no run ${JSON.stringify(id.slice(0, 80))}: a run's id looks like run-lx3k2f9a-0a1b2c.`);
  return join(runs, id);
}

/** @throws EverloraError run_not_found, or run_corrupted when run.json is not a run's record */
export async function readRun(runs: string, id: string): Promise<Run> {
  const path = join(runFolder(runs, id), runFile);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new EverloraError("run_not_found", `There is no run ${id}.`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new EverloraError("run_corrupted", `${path} is not JSON (${text.length} characters).`);
  }
  const parsed = runSchema.safeParse(value);
  if (!parsed.success) throw new EverloraError("run_corrupted", `${path}: ${describeIssues(parsed.error.issues, runFile)}`);
  if (parsed.data.id !== id) throw new EverloraError("run_corrupted", `${path} is the record of another run, ${parsed.data.id}.`);
  return parsed.data;
}

/** The run, or null when there is none. A damaged record still throws. */
export async function findRun(runs: string, id: string): Promise<Run | null> {
  try {
    return await readRun(runs, id);
  } catch (error) {
    if (error instanceof EverloraError && error.code === "run_not_found") return null;
    throw error;
  }
}

/** A run that has ended never goes on: its checkpoint goes. */
export async function writeRun(runs: string, run: Run): Promise<void> {
  const folder = runFolder(runs, run.id);
  await writeFileAtomic(join(folder, runFile), `${JSON.stringify(run, null, 1)}\n`);
  if (finalStates.includes(run.state)) await rm(join(folder, checkpointFile), { force: true });
}

/**
 * Replaces the record of a run that this attempt owns.
 * @throws EverloraError conflict when another attempt has begun or the run has ended: a writer that was overtaken must stop
 */
export async function replaceRun(runs: string, run: Run): Promise<void> {
  const onDisk = await readRun(runs, run.id);
  if (onDisk.attempt !== run.attempt) throw new EverloraError("conflict", `Attempt ${run.attempt} of ${run.id} was overtaken by attempt ${onDisk.attempt}.`);
  if (finalStates.includes(onDisk.state)) throw new EverloraError("conflict", `${run.id} has ended already: ${onDisk.state}.`);
  await writeRun(runs, run);
}

/** Puts a damaged record out of the way, so that the run can begin anew and somebody can still look at what was there. */
export async function setRecordAside(runs: string, id: string): Promise<void> {
  const path = join(runFolder(runs, id), runFile);
  await rename(path, `${path}.corrupted-${Date.now()}`);
}

/** Ids of all the runs that have a folder, newest first (ids sort by time). */
async function listRunIds(runs: string): Promise<string[]> {
  await makeFolder(runs);
  const names = await readdir(runs);
  return names.filter((name) => runIdSchema.safeParse(name).success).sort((a, b) => (a < b ? 1 : -1));
}

export interface RunFilter {
  readonly domain?: string | undefined;
  readonly states?: readonly RunState[] | undefined;
}

export interface RunPage {
  readonly runs: Run[];
  /** Records that could not be read, met on the way. */
  readonly damaged: { readonly id: string; readonly problem: string }[];
  /** Whether there are older runs that match. */
  readonly more: boolean;
}

/**
 * Newest first. Reads no more records than it must, but with a filter that matches little it may read them all.
 * @param page.after only runs older than this id
 */
export async function listRuns(runs: string, page: { readonly limit: number; readonly after?: string | undefined }, filter: RunFilter = {}): Promise<RunPage> {
  const found: Run[] = [];
  const damaged: { id: string; problem: string }[] = [];
  for (const id of await listRunIds(runs)) {
    if (page.after !== undefined && id >= page.after) continue;
    let run: Run | null;
    try {
      run = await findRun(runs, id);
    } catch (error) {
      if (!(error instanceof EverloraError)) throw error;
      damaged.push({ id, problem: error.message });
      continue;
    }
    if (run === null) continue; // a folder whose trainer has not written the record yet
    if (filter.domain !== undefined && run.domain !== filter.domain) continue;
    if (filter.states !== undefined && !filter.states.includes(run.state)) continue;
    if (found.length === page.limit) return { runs: found, damaged, more: true };
    found.push(run);
  }
  return { runs: found, damaged, more: false };
}

/** The newest run of a domain in one of `states`, or null. */
export async function lastRun(runs: string, domain: string, states?: readonly RunState[]): Promise<Run | null> {
  const page = await listRuns(runs, { limit: 1 }, { domain, states });
  return page.runs[0] ?? null;
}

/** How many of the newest runs are looked through for the last one of each domain. */
const lastRunsScan = 500;

/** The newest run of each of `domains`, in one pass; a domain whose last run is very long ago, or that never had one, is not in the map. */
export async function lastRuns(runs: string, domains: readonly string[]): Promise<ReadonlyMap<string, Run>> {
  const missing = new Set(domains);
  const found = new Map<string, Run>();
  for (const id of (await listRunIds(runs)).slice(0, lastRunsScan)) {
    if (missing.size === 0) break;
    const run = await findRun(runs, id).catch(() => null); // damaged: GET /runs tells
    if (run !== null && missing.delete(run.domain)) found.set(run.domain, run);
  }
  return found;
}
