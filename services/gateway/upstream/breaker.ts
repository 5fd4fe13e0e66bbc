/**
 * A circuit breaker: when too large a share of a server's recent requests failed, the next ones fail at once, and one at a time tries whether it is
 * well again (Nygard, "Release It!"; the share over a window as in resilience4j). Time is given in, so that tests need not wait.
 */
export type BreakerState = "closed" | "open" | "half-open";

export interface BreakerOptions {
  /** Share of failures that opens it; 0 = never. */
  readonly share: number;
  readonly windowMs?: number;
  /** Fewer requests than this in the window say nothing. */
  readonly least?: number;
  /** How long it stays open at first; doubles with each trial that fails, up to `longestMs`. */
  readonly openMs?: number;
  readonly longestMs?: number;
  readonly now?: () => number;
  onChange?(state: BreakerState): void;
}

/** Buckets of the window: old outcomes leave one bucket at a time. */
const buckets = 10;

export class Breaker {
  readonly #options: Required<Omit<BreakerOptions, "onChange">> & Pick<BreakerOptions, "onChange">;
  #state: BreakerState = "closed";
  #counts: { start: number; ok: number; failed: number }[] = [];
  #openUntil = 0;
  #openFor: number;
  #trying = false;

  constructor(options: BreakerOptions) {
    this.#options = { windowMs: 30_000, least: 10, openMs: 2_000, longestMs: 60_000, now: Date.now, ...options };
    this.#openFor = this.#options.openMs;
  }

  get state(): BreakerState {
    return this.#state === "open" && this.#options.now() >= this.#openUntil ? "half-open" : this.#state;
  }

  /** Milliseconds until a request may try again; 0 when it may now. Whoever may must tell the outcome by `report`. */
  enter(): number {
    if (this.#state === "closed") return 0;
    const left = this.#openUntil - this.#options.now();
    if (left > 0) return left;
    if (this.#trying) return this.#options.openMs;
    this.#trying = true;
    this.#become("half-open");
    return 0;
  }

  /** @param outcome "unknown": the caller left before it was clear */
  report(outcome: "ok" | "failed" | "unknown"): void {
    if (this.#options.share === 0) return;
    if (this.#state !== "closed") {
      this.#trying = false;
      if (outcome === "ok") {
        this.#counts = [];
        this.#openFor = this.#options.openMs;
        this.#become("closed");
      } else if (outcome === "failed") {
        this.#openFor = Math.min(2 * this.#openFor, this.#options.longestMs);
        this.#open();
      }
      return;
    }
    if (outcome === "unknown") return;
    const { ok, failed } = this.#count(outcome);
    if (ok + failed >= this.#options.least && failed / (ok + failed) >= this.#options.share) this.#open();
  }

  #count(outcome: "ok" | "failed"): { ok: number; failed: number } {
    const { windowMs, now } = this.#options;
    const at = now();
    let last = this.#counts.at(-1);
    if (last === undefined || at - last.start >= windowMs / buckets) {
      last = { start: at, ok: 0, failed: 0 };
      this.#counts.push(last);
      this.#counts = this.#counts.filter(({ start }) => at - start < windowMs);
    }
    last[outcome]++;
    return { ok: this.#counts.reduce((sum, each) => sum + each.ok, 0), failed: this.#counts.reduce((sum, each) => sum + each.failed, 0) };
  }

  #open(): void {
    // With jitter: several gateways must not all try in the same instant.
    this.#openUntil = this.#options.now() + this.#openFor * (0.8 + 0.4 * Math.random());
    this.#become("open");
  }

  #become(state: BreakerState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onChange?.(state);
  }
}
