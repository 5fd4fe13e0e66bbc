/** Stops asking what does not answer: after some failures in a row nobody is kept waiting for a while, then one try decides. */
const failuresToOpen = 3;
const openMs = 2_000;

export class Breaker {
  #failures = 0;
  #openUntil = 0;

  /** Whether to try now. While it is open nobody does; afterwards one caller at a time. */
  allows(now = Date.now()): boolean {
    if (this.#failures < failuresToOpen) return true;
    if (now < this.#openUntil) return false;
    this.#openUntil = now + openMs;
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  failed(now = Date.now()): void {
    this.#failures++;
    if (this.#failures >= failuresToOpen) this.#openUntil = now + openMs;
  }
}
