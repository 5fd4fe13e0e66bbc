/**
 * How late this process' event loop is: the smoothed delay of a timer. Where it is late, one thread is asked for more than it can do, and what only
 * saves work later (the semantic tier) is better left out. One pause of the garbage collector, or of a busy machine, is not enough to count.
 */

export interface Lag {
  /** Milliseconds. */
  readonly now: number;
  close(): void;
}

const everyMs = 20;
/** Weight of the newest delay: a second of calm or of rush shows fully, a single pause by a fifth. */
const newest = 0.2;

export class LoopLag implements Lag {
  readonly #timer: NodeJS.Timeout;
  #mean = 0;
  #due: number;

  constructor() {
    this.#due = performance.now() + everyMs;
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.#mean = smoothed(this.#mean, now - this.#due);
      this.#due = now + everyMs;
    }, everyMs);
    this.#timer.unref();
  }

  get now(): number {
    return this.#mean;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** @param delay by which the timer came late; one that came early was not late */
export function smoothed(mean: number, delay: number): number {
  return mean + newest * (Math.max(0, delay) - mean);
}
