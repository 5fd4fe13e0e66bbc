/**
 * Another OpenAI-compatible server: the teacher that answers what no adapter covers, or a server of the serving fleet. Sends the caller's body on, reads
 * JSON or events, tries again while nothing has gone out, and stops asking a server that is down. Not responsible for: which request goes there.
 */
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import { Breaker, type BreakerState } from "./breaker.ts";
import { AttemptFailure, eventFailure } from "./failure.ts";
import { HttpClient, type TimeOuts } from "./http_client.ts";
import { Retry } from "./retry.ts";
import { readEvents } from "./sse_reader.ts";

export interface UpstreamOptions {
  /** How errors and metrics call it. */
  readonly who: "upstream" | "serving";
  /** Up to and including /v1. */
  readonly url: string;
  readonly apiKey: string | undefined;
  /** For requests that don't name one of its models. */
  readonly model: string;
  readonly timeOuts: TimeOuts;
  readonly retries: number;
  /** Share of failures that opens the circuit breaker; 0 = never. */
  readonly breaker: number;
  /** Requests in flight; more are refused at once. */
  readonly concurrency: number;
  readonly metrics?: Pick<Metrics<"gateway">, "upstreamRequests" | "upstreamRetries" | "upstreamOpen" | "upstreamInFlight">;
}

/** What `events` gives last when the server marked the end of its stream. */
export const doneEvent = Symbol("[DONE]");

const healthOf = { closed: "ok", open: "resting", "half-open": "being tried" } as const satisfies Record<BreakerState, string>;

const largestAnswer = 32 << 20;

export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #http: HttpClient;
  readonly #retry: Retry;
  readonly #breaker: Breaker;
  #inFlight = 0;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    const { who, metrics } = options;
    this.#http = new HttpClient(options);
    this.#retry = new Retry({ retries: options.retries });
    metrics?.upstreamOpen.set({ target: who }, 0);
    this.#breaker = new Breaker({ share: options.breaker, onChange: (state) => metrics?.upstreamOpen.set({ target: who }, state === "closed" ? 0 : 1) });
  }

  get model(): string {
    return this.#options.model;
  }

  /** In words for people: what the circuit breaker makes of it. */
  get health(): "ok" | "resting" | "being tried" {
    return healthOf[this.#breaker.state];
  }

  close(): void {
    this.#http.close();
  }

  /**
   * The parsed JSON of an answer. @param body undefined: a GET
   * @throws EverloraError upstream_error, upstream_timeout, upstream_unavailable, overloaded, or the caller's own fault as the server named it
   */
  async json(path: string, body: object | undefined, signal: AbortSignal): Promise<unknown> {
    return parseJson(this.#options.who, await this.text(path, body, signal));
  }

  /** The answer's body, whatever it is. @throws EverloraError as `json` */
  async text(path: string, body: object | undefined, signal: AbortSignal): Promise<string> {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    return this.#within(() => this.#attempts(async () => (await this.#http.send(path, sent, "application/json", signal)).all(largestAnswer), signal));
  }

  /** The parsed events of a stream, and `doneEvent` for `[DONE]`. Tried again until the first event has come. @throws EverloraError as `json`, also in the middle */
  async *events(path: string, body: object, signal: AbortSignal): AsyncGenerator<unknown, void, undefined> {
    const sent = JSON.stringify(body);
    this.#enter();
    try {
      const { first, rest, reply } = await this.#attempts(() => this.#firstEvent(path, sent, signal), signal);
      try {
        for (let next: IteratorResult<string, void> = first; next.done !== true; next = await rest.next()) {
          if (next.value === "[DONE]") {
            reply.drain();
            yield doneEvent;
            return;
          }
          yield this.#parseEvent(next.value);
        }
      } catch (error) {
        if (!(error instanceof AttemptFailure)) throw error;
        if (error.unwell) this.#breaker.report("failed");
        throw error.failure;
      } finally {
        reply.leave();
      }
    } finally {
      this.#leave();
    }
  }

  async #firstEvent(path: string, sent: string, signal: AbortSignal) {
    const { who } = this.#options;
    const reply = await this.#http.send(path, sent, "text/event-stream", signal);
    try {
      if (!reply.type.includes("text/event-stream")) throw broken(`The ${who} answered a streaming request with ${reply.type === "" ? "no content type" : reply.type}.`);
      const rest = readEvents(reply.texts());
      const first = await rest.next();
      if (first.done === true) throw broken(`The ${who} ended its stream before the first event.`, true);
      if (first.value !== "[DONE]") this.#parseEvent(first.value);
      return { first, rest, reply };
    } catch (error) {
      reply.leave();
      throw error;
    }
  }

  #parseEvent(data: string): unknown {
    const event = parseJson(this.#options.who, data);
    const failure = eventFailure(this.#options.who, event);
    if (failure !== undefined) throw failure;
    return event;
  }

  async #within<T>(work: () => Promise<T>): Promise<T> {
    this.#enter();
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  #enter(): void {
    const { who, concurrency, metrics } = this.#options;
    if (this.#inFlight >= concurrency) throw new EverloraError("overloaded", `${this.#inFlight} requests wait for the ${who}; UPSTREAM_CONCURRENCY=${concurrency} allows no more.`);
    metrics?.upstreamInFlight.set({ target: who }, ++this.#inFlight);
  }

  #leave(): void {
    this.#options.metrics?.upstreamInFlight.set({ target: this.#options.who }, --this.#inFlight);
  }

  #attempts<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { who, metrics } = this.#options;
    const once = async () => {
      const wait = this.#breaker.enter();
      if (wait > 0) {
        metrics?.upstreamRequests.inc({ target: who, outcome: "refused" });
        throw new EverloraError("upstream_unavailable", `Too many requests to the ${who} failed of late; it is tried again in ${Math.ceil(wait / 1_000)} s.`, { details: { retry_after: Math.max(1, Math.ceil(wait / 1_000)) } });
      }
      try {
        const result = await work();
        this.#breaker.report("ok");
        metrics?.upstreamRequests.inc({ target: who, outcome: "ok" });
        return result;
      } catch (error) {
        const unwell = error instanceof AttemptFailure ? error.unwell : !signal.aborted;
        this.#breaker.report(signal.aborted ? "unknown" : unwell ? "failed" : "ok");
        metrics?.upstreamRequests.inc({ target: who, outcome: signal.aborted ? "aborted" : "error" });
        throw error;
      }
    };
    return this.#retry.run(once, signal, () => metrics?.upstreamRetries.inc({ target: who }));
  }
}

const broken = (message: string, again = false) => new AttemptFailure(new EverloraError("upstream_error", message), { again, unwell: true });

function parseJson(who: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new EverloraError("upstream_error", `The ${who} sent something that is not JSON (${messageOf(error).slice(0, 60)}).`);
  }
}
