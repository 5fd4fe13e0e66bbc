/** How often a process may crash before it is given up, and how long to wait before it is started again. */
export class CrashBudget {
  readonly #most: number;
  readonly #windowMs: number;
  readonly #baseDelayMs: number;
  #crashes: number[] = [];

  constructor(most = 5, windowMs = 60_000, baseDelayMs = 250) {
    this.#most = most;
    this.#windowMs = windowMs;
    this.#baseDelayMs = baseDelayMs;
  }

  /** Milliseconds to wait, or null when it crashed too often within the window. */
  crashed(now = Date.now()): number | null {
    this.#crashes = [...this.#crashes.filter((at) => now - at < this.#windowMs), now];
    if (this.#crashes.length >= this.#most) return null;
    return this.#baseDelayMs * 2 ** (this.#crashes.length - 1);
  }

  get description(): string {
    return `${this.#most} times within ${this.#windowMs / 1000} s`;
  }
}
