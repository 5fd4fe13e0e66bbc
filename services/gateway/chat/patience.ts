/** How long a request may go on: until its client leaves, or until its time is up. One signal for both. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Settings } from "../../../shared/config/settings.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";

/** One for all: making an error, and its stack, for each client that leaves costs more than it tells. */
const clientLeft = new EverloraError("cancelled", "The client closed the connection.");

/** Seconds that the caller gives the request. */
const header = "x-everlora-timeout";

/** A class: an accessor in an object literal gives each object a hidden class of its own, which keeps the one before, and its request, in memory. */
export class Patience {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(response: ServerResponse, seconds: number) {
    this.#timer = setTimeout(() => this.#controller.abort(new EverloraError("deadline_exceeded", `The request was not answered within ${seconds} s.`)), seconds * 1_000);
    this.#timer.unref();
    response.once("close", () => {
      clearTimeout(this.#timer);
      // Not for an answer that was whole: an abort is dear, and there would be nobody to hear it.
      if (!response.writableFinished) this.#controller.abort(clientLeft);
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The client has gone: nobody is there to be told. */
  get left(): boolean {
    return this.signal.reason === clientLeft;
  }

  /** `deadline_exceeded` when the time is up, otherwise what was thrown. */
  explain(thrown: unknown): unknown {
    const reason: unknown = this.signal.reason;
    return reason !== undefined && reason !== clientLeft ? reason : thrown;
  }
}

/** @throws EverloraError invalid_request when the header is no number of seconds */
export function patienceFor(request: IncomingMessage, response: ServerResponse, settings: Pick<Settings, "REQUEST_TIMEOUT">): Patience {
  return new Patience(response, secondsOf(request, settings.REQUEST_TIMEOUT));
}

function secondsOf(request: IncomingMessage, most: number): number {
  const text = request.headers[header];
  if (text === undefined) return most;
  const seconds = Number(text);
  if (typeof text !== "string" || text.trim() === "" || !(seconds > 0)) throw new EverloraError("invalid_request", `${header}: ${JSON.stringify(text)} is no number of seconds above 0.`, { param: header });
  return Math.min(seconds, most);
}
