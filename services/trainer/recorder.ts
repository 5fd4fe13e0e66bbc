/**
 * The pen that one attempt keeps its run's folder with: run.json, log.jsonl and metrics.jsonl. Every change of the record is fenced by the attempt's
 * number: once another attempt has begun, or somebody has ended the run, this pen writes no more and says so.
 */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { appendLinesSynced, removeTemporaries, writeFileAtomic, writeFileSynced } from "../../shared/files/atomic.ts";
import { logFile, metricsFile, stepMetricSchema, type LogLine, type Run, type StepMetric } from "../../shared/runs/run.ts";
import { replaceRun, runFolder, writeRun } from "../../shared/runs/store.ts";
import { isDiskFull } from "./run/space.ts";

/** Room that is kept while an attempt is at work, so that on a full disk the record can still say how it ended. */
const reserveFile = ".reserve";
const reserveBytes = 2 ** 20;

export class Recorder {
  readonly #runs: string;
  readonly #folder: string;
  #run: Run;
  /** Lines that are not on the disk yet, by file. */
  readonly #pending = new Map<string, string[]>();
  #flushing: Promise<void> | undefined;
  /** The first step of this attempt; null before it, and once what it replaces is gone. */
  #replaceFrom: number | null = null;
  #stepped = false;

  private constructor(runs: string, run: Run) {
    this.#runs = runs;
    this.#folder = runFolder(runs, run.id);
    this.#run = run;
  }

  /** Begins an attempt: from here on the pens of earlier attempts write no more. What those left half-written is removed. */
  static async begin(runs: string, run: Run): Promise<Recorder> {
    const recorder = new Recorder(runs, run);
    await removeTemporaries(recorder.#folder);
    await writeRun(runs, run);
    await writeFileSynced(join(recorder.#folder, reserveFile), Buffer.alloc(reserveBytes, 1)).catch(async (error: unknown) => {
      await recorder.#giveReserveBack();
      throw error;
    });
    return recorder;
  }

  get run(): Run {
    return this.#run;
  }

  /** @throws EverloraError conflict when the run is no longer this attempt's */
  async change(fields: Partial<Run>): Promise<void> {
    this.#run = { ...this.#run, ...fields };
    try {
      await replaceRun(this.#runs, this.#run);
    } catch (error) {
      // Only for the last word: were the room given up earlier, others would fill it.
      if (!isDiskFull(error) || this.#run.state === "running") throw error;
      await this.#giveReserveBack();
      await replaceRun(this.#runs, this.#run);
    }
    if (this.#run.state !== "running") await this.#giveReserveBack();
  }

  #giveReserveBack(): Promise<void> {
    return rm(join(this.#folder, reserveFile), { force: true });
  }

  log(level: LogLine["level"], message: string): void {
    const line: LogLine = { at: Date.now(), level, attempt: this.#run.attempt, message };
    this.#append(logFile, JSON.stringify(line));
  }

  /** The first one of an attempt tells where it goes on from: what an earlier one did after that point is done again, and replaced. */
  metric(metric: StepMetric): void {
    if (!this.#stepped) this.#replaceFrom = metric.step;
    this.#stepped = true;
    this.#append(metricsFile, JSON.stringify(metric));
  }

  async #keepMetricsBefore(step: number): Promise<void> {
    const path = join(this.#folder, metricsFile);
    const text = step === 1 ? "" : await readFile(path, "utf8").catch(() => "");
    const kept = text.split("\n").filter((line) => (stepOf(line) ?? step) < step);
    if (kept.length === 0) await rm(path, { force: true });
    else await writeFileAtomic(path, `${kept.join("\n")}\n`);
  }

  /** Resolves when every line is on the disk. @throws what the file system said */
  async flush(): Promise<void> {
    while (this.#pending.size > 0 || this.#flushing !== undefined) {
      this.#flushing ??= this.#write().finally(() => {
        this.#flushing = undefined;
      });
      await this.#flushing;
    }
  }

  #append(file: string, line: string): void {
    this.#pending.set(file, [...(this.#pending.get(file) ?? []), line]);
    // Lines that come while the disk is busy go together in the next write. A failure is met again, and heard, by the next `flush`.
    this.flush().catch(() => undefined);
  }

  async #write(): Promise<void> {
    for (const file of [...this.#pending.keys()]) {
      // Taken here and not before the loop: while another file was written, more may have come.
      const lines = this.#pending.get(file) ?? [];
      this.#pending.delete(file);
      try {
        if (file === metricsFile && this.#replaceFrom !== null) await this.#keepMetricsBefore(this.#replaceFrom);
        if (file === metricsFile) this.#replaceFrom = null;
        await appendLinesSynced(join(this.#folder, file), lines);
      } catch (error) {
        this.#pending.set(file, [...lines, ...(this.#pending.get(file) ?? [])]);
        throw error;
      }
    }
  }
}

/** undefined: the line is torn. */
function stepOf(line: string): number | undefined {
  try {
    const parsed = stepMetricSchema.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data.step : undefined;
  } catch {
    return undefined;
  }
}
