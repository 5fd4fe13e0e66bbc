/** How long a request may go on: until its client leaves, or until its time is up. One signal for both. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Settings } from "../../../shared/config/settings.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";

/** One for all: making an error, and its stack, for each client that leaves costs more than it tells. */
const clientLeft = new EverloraError("cancelled", "The client closed the connection.");

export interface Patience {
  readonly signal: AbortSignal;
  /** The client has gone: nobody is there to be told. */
  readonly left: boolean;
  /** `deadline_exceeded` when the time is up, otherwise what was thrown. */
  explain(thrown: unknown): unknown;
}

/** Seconds that the caller gives the request. */
const header = "x-everlora-timeout";

/** @throws EverloraError invalid_request when the header is no number of seconds */
export function patienceFor(request: IncomingMessage, response: ServerResponse, settings: Pick<Settings, "REQUEST_TIMEOUT">): Patience {
  const controller = new AbortController();
  const seconds = secondsOf(request, settings.REQUEST_TIMEOUT);
  const late = new Late(controller, seconds);
  // Not for an answer that was whole: an abort is dear, and there would be nobody to hear it.
  response.once("close", () => {
    late.stop();
    if (!response.writableFinished) controller.abort(clientLeft);
  });
  return {
    signal: controller.signal,
    get left() {
      return controller.signal.reason === clientLeft;
    },
    explain: (thrown) => {
      const reason: unknown = controller.signal.reason;
      return reason !== undefined && reason !== clientLeft ? reason : thrown;
    },
  };
}

class Late {
  readonly #timer: NodeJS.Timeout;

  constructor(controller: AbortController, seconds: number) {
    this.#timer = setTimeout(() => controller.abort(new EverloraError("deadline_exceeded", `The request was not answered within ${seconds} s.`)), seconds * 1_000);
    this.#timer.unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

function secondsOf(request: IncomingMessage, most: number): number {
  const text = request.headers[header];
  if (text === undefined) return most;
  const seconds = Number(text);
  if (typeof text !== "string" || text.trim() === "" || !(seconds > 0)) throw new EverloraError("invalid_request", `${header}: ${JSON.stringify(text)} is no number of seconds above 0.`, { param: header });
  return Math.min(seconds, most);
}
