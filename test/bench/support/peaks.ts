/** The peak of a tree of processes in each part of what it does, by looking again and again. */
import { memoryOf, type ProcessMemory } from "./process_memory.ts";

export interface Part {
  readonly name: string;
  readonly seconds: number;
  readonly peakMiB: number;
  /** When it was highest, by process. */
  readonly processes: Readonly<Record<string, number>>;
}

/** Reading the tables of a few gigabytes takes tens of milliseconds. */
const lookMs = 1_000;

export class Peaks {
  readonly #roots: () => readonly number[];
  readonly #parts: { name: string; from: number; until: number; peak: ProcessMemory[] }[] = [];
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> = Promise.resolve();
  #busy = false;

  /** @param roots processes whose trees are looked at; they may change */
  constructor(roots: () => readonly number[]) {
    this.#roots = roots;
    this.#timer = setInterval(() => {
      if (!this.#busy) this.#looking = this.look();
    }, lookMs);
  }

  /** What is seen from now on belongs to this part. */
  begin(name: string): void {
    const now = performance.now();
    const last = this.#parts.at(-1);
    if (last?.name === name) return;
    if (last !== undefined) last.until = now;
    this.#parts.push({ name, from: now, until: NaN, peak: [] });
  }

  async look(): Promise<void> {
    this.#busy = true;
    try {
      const part = this.#parts.at(-1);
      const seen = await memoryOf(this.#roots());
      if (part !== undefined && sum(seen) > sum(part.peak)) part.peak = seen;
    } finally {
      this.#busy = false;
    }
  }

  async end(): Promise<Part[]> {
    clearInterval(this.#timer);
    await this.#looking;
    const now = performance.now();
    return this.#parts.map(({ name, from, until, peak }) => ({ name, seconds: round(((Number.isNaN(until) ? now : until) - from) / 1_000), peakMiB: Math.round(sum(peak)), processes: byName(peak) }));
  }
}

const sum = (processes: readonly ProcessMemory[]) => processes.reduce((total, { pssMiB }) => total + pssMiB, 0);
const round = (value: number) => Math.round(value * 10) / 10;

/** Two of one name are told apart by a number. */
function byName(processes: readonly ProcessMemory[]): Record<string, number> {
  const named: Record<string, number> = {};
  for (const { name, pssMiB } of processes) {
    let unique = name;
    for (let at = 2; unique in named; at++) unique = `${name} ${at}`;
    named[unique] = Math.round(pssMiB);
  }
  return named;
}
