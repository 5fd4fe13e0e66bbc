/** Why a run that is at work must stop. The first reason counts. */
export type StopReason = "shutdown" | "cancelled" | "lost-lock";

export class Stop {
  #reason: StopReason | undefined;
  readonly #listeners = new Set<() => void>();

  get reason(): StopReason | undefined {
    return this.#reason;
  }

  request(reason: StopReason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    for (const listener of this.#listeners) listener();
  }

  /** Calls at once when the stop was requested before. @returns a function that takes the listener away */
  onRequest(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#reason !== undefined) listener();
    return () => this.#listeners.delete(listener);
  }
}
