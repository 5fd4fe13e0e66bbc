/** Times and counts one answer for the metrics, each once. */
import type { Metrics } from "../../../shared/metrics/metrics.ts";

export type AnsweredBy = "cache" | "base" | "adapter" | "upstream";

type Counted = Pick<Metrics<"gateway">, "inferenceRequests" | "timeToFirstToken" | "inferenceDuration">;

export class Stopwatch {
  readonly #metrics: Counted;
  readonly #start = performance.now();
  #begun = false;
  #ended = false;

  constructor(metrics: Counted) {
    this.#metrics = metrics;
  }

  firstToken(source: AnsweredBy): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#metrics.timeToFirstToken.observe({ source }, this.#seconds());
  }

  end(source: AnsweredBy, outcome: "ok" | "refused" | "error" | "aborted"): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#metrics.inferenceRequests.inc({ source, outcome });
    if (outcome === "ok") this.#metrics.inferenceDuration.observe({ source }, this.#seconds());
  }

  #seconds(): number {
    return (performance.now() - this.#start) / 1000;
  }
}
