/**
 * Trying again: with exponential waits and full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015), as the server's Retry-After says,
 * and out of a budget, so that retries never multiply the load on a server that is down (Google SRE book, "Handling Overload": at most 10 % more).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { AttemptFailure } from "./failure.ts";

export interface RetryOptions {
  /** How often a request may be tried again. */
  readonly retries: number;
  readonly firstWaitMs?: number;
  /** A Retry-After that is longer is handed to the caller, who can wait better than we. */
  readonly longestWaitMs?: number;
}

/** Each request earns a tenth of a retry; a few are there from the start, for gateways with little traffic. */
const earned = 0.1;
const mostSaved = 20;

export class Retry {
  readonly #options: Required<RetryOptions>;
  #budget = mostSaved;

  constructor(options: RetryOptions) {
    this.#options = { firstWaitMs: 200, longestWaitMs: 5_000, ...options };
  }

  /**
   * @param onRetry called before each wait
   * @throws EverloraError what the last attempt failed with
   */
  async run<T>(attempt: () => Promise<T>, signal: AbortSignal, onRetry: () => void): Promise<T> {
    this.#budget = Math.min(mostSaved, this.#budget + earned);
    for (let tried = 0; ; tried++)
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof AttemptFailure)) throw error;
        const wait = this.#waitAfter(error, tried);
        if (signal.aborted) throw new EverloraError("cancelled", "The request was aborted.");
        if (wait === undefined) throw error.failure;
        this.#budget--;
        onRetry();
        await sleep(wait, undefined, { signal }).catch(() => {
          throw new EverloraError("cancelled", "The request was aborted.");
        });
      }
  }

  /** Milliseconds, or undefined when it is not to be tried again. */
  #waitAfter({ again, afterMs }: AttemptFailure, tried: number): number | undefined {
    const { retries, firstWaitMs, longestWaitMs } = this.#options;
    if (!again || tried >= retries || this.#budget < 1) return undefined;
    if (afterMs !== undefined) return afterMs > longestWaitMs ? undefined : afterMs * (1 + 0.1 * Math.random());
    return Math.min(longestWaitMs, firstWaitMs * 2 ** tried) * Math.random();
  }
}
