/** Writes server-sent events to a client: headers with the first event, a comment now and then, and no more than the client takes. */
import type { ServerResponse } from "node:http";
import { EverloraError } from "../../../shared/errors/errors.ts";

/** A silent connection is cut by proxies after 30 to 60 s. */
const keepAliveMs = 15_000;
/** A client that takes nothing for so long has gone, whatever TCP says. */
const stuckMs = 60_000;

export class EventWriter {
  readonly #response: ServerResponse;
  #beat: NodeJS.Timeout | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  /** One event. Resolves when the client can take the next. @throws EverloraError cancelled when it is gone */
  async data(json: unknown): Promise<void> {
    await this.#write(`data: ${JSON.stringify(json)}\n\n`);
  }

  /** The end as OpenAI marks it. */
  async done(): Promise<void> {
    await this.#write("data: [DONE]\n\n");
    this.end();
  }

  end(): void {
    clearInterval(this.#beat);
    this.#response.end();
  }

  async #write(text: string): Promise<void> {
    const response = this.#response;
    if (!response.headersSent) this.#open();
    if (response.destroyed || response.writableEnded) throw gone();
    if (response.write(text)) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (then: () => void) => () => {
        clearTimeout(timer);
        response.off("drain", drained);
        response.off("close", closed);
        then();
      };
      const drained = settle(resolve);
      const closed = settle(() => reject(gone()));
      const timer = setTimeout(() => response.destroy(), stuckMs);
      response.once("drain", drained);
      response.once("close", closed);
    });
  }

  #open(): void {
    // no-transform and the header for nginx: whoever compresses or buffers events delays them.
    this.#response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache, no-transform", "x-accel-buffering": "no" });
    this.#response.flushHeaders();
    this.#beat = setInterval(() => this.#response.write(": still here\n\n"), keepAliveMs);
    this.#response.once("close", () => clearInterval(this.#beat));
  }
}

function gone(): EverloraError {
  return new EverloraError("cancelled", "The client closed the connection.");
}
