/**
 * The teacher: an OpenAI-compatible server that answers what no adapter covers. Sends the caller's body on, reads JSON or events, and gives up
 * after a silence. Not responsible for: retries, or which request goes there.
 */
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { chunkSchema, completionSchema, type Chunk, type Completion } from "../chat/completion.ts";
import { eventFailure, upstreamFailure } from "./failure.ts";
import { readEvents } from "./sse_reader.ts";

export interface UpstreamOptions {
  /** Up to and including /v1. */
  readonly url: string;
  readonly apiKey: string | undefined;
  /** For requests that don't name one of its models. */
  readonly model: string;
  readonly timeoutSeconds: number;
}

const largestAnswer = 32 << 20;
const largestRefusal = 16 << 10;

export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #endpoint: string;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#endpoint = `${options.url.replace(/\/+$/, "")}/chat/completions`;
  }

  get model(): string {
    return this.#options.model;
  }

  /** @throws EverloraError upstream_error, upstream_timeout, or the caller's own fault as the upstream named it */
  async complete(body: object, signal: AbortSignal): Promise<Completion> {
    const reply = await this.#post(body, "application/json", signal);
    const text = await reply.all(largestAnswer);
    const parsed = completionSchema.safeParse(parseJson(text));
    if (!parsed.success) throw new EverloraError("upstream_error", "The upstream's answer is not a chat completion.");
    return parsed.data;
  }

  /** Ends only after a finish_reason or [DONE]. @throws EverloraError as complete, also in the middle */
  async *stream(body: object, signal: AbortSignal): AsyncGenerator<Chunk, void, undefined> {
    const reply = await this.#post(body, "text/event-stream", signal);
    if (!reply.type.includes("text/event-stream")) {
      reply.leave();
      throw new EverloraError("upstream_error", `The upstream answered a streaming request with ${reply.type === "" ? "no content type" : reply.type}.`);
    }
    let finished = false;
    try {
      for await (const data of readEvents(reply.texts())) {
        if (data === "[DONE]") return;
        const event = parseJson(data);
        const failure = eventFailure(event);
        if (failure !== undefined) throw failure;
        const chunk = chunkSchema.safeParse(event);
        if (!chunk.success) throw new EverloraError("upstream_error", "The upstream sent an event that is not a chunk of a chat completion.");
        finished ||= chunk.data.choices.some((choice) => choice.finish_reason !== null && choice.finish_reason !== undefined);
        yield chunk.data;
      }
      if (!finished && !signal.aborted) throw new EverloraError("upstream_error", "The upstream's stream broke off in the middle of the answer.");
    } finally {
      reply.leave();
    }
  }

  async #post(body: object, accept: string, signal: AbortSignal): Promise<Reply> {
    const patience = new Patience(this.#options.timeoutSeconds, signal);
    let response: Response;
    try {
      response = await fetch(this.#endpoint, {
        method: "POST",
        headers: { "content-type": "application/json", accept, ...(this.#options.apiKey === undefined ? {} : { authorization: `Bearer ${this.#options.apiKey}` }) },
        body: JSON.stringify(body),
        signal: patience.signal,
        // A redirect would hand the key to an address that nobody configured.
        redirect: "error",
      });
    } catch (error) {
      throw patience.explain(error, "Cannot reach the upstream");
    }
    const reply = new Reply(response, patience);
    if (response.ok) return reply;
    throw upstreamFailure(response.status, await reply.all(largestRefusal).catch(() => ""), response.headers.get("retry-after"));
  }
}

/** A response whose body is read under the time-out. */
class Reply {
  readonly #response: Response;
  readonly #patience: Patience;

  constructor(response: Response, patience: Patience) {
    this.#response = response;
    this.#patience = patience;
  }

  get type(): string {
    return this.#response.headers.get("content-type") ?? "";
  }

  async *texts(): AsyncGenerator<string, void, undefined> {
    const decoder = new TextDecoder();
    const reader = this.#response.body?.getReader();
    try {
      for (;;) {
        this.#patience.restart();
        const read = await reader?.read();
        this.#patience.pause(); // the time that our own client takes is not the upstream's
        if (read === undefined || read.done) break;
        yield decoder.decode(read.value as Uint8Array, { stream: true });
      }
    } catch (error) {
      throw this.#patience.explain(error, "The upstream's answer broke off");
    }
    yield decoder.decode();
  }

  async all(most: number): Promise<string> {
    let text = "";
    try {
      for await (const piece of this.texts()) {
        text += piece;
        if (text.length > most) throw new EverloraError("upstream_error", `The upstream's answer is longer than ${most} characters.`);
      }
      return text;
    } finally {
      this.leave();
    }
  }

  /** Ends the connection unless all was read. */
  leave(): void {
    this.#patience.end();
  }
}

/** One signal for both reasons to give up: the caller left, or the upstream was silent for too long. */
class Patience {
  readonly #seconds: number;
  readonly #caller: AbortSignal;
  readonly #controller = new AbortController();
  readonly #forward = () => this.#controller.abort();
  #timer: NodeJS.Timeout | undefined;
  #expired = false;

  constructor(seconds: number, caller: AbortSignal) {
    this.#seconds = seconds;
    this.#caller = caller;
    if (caller.aborted) this.#controller.abort();
    caller.addEventListener("abort", this.#forward, { once: true });
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  restart(): void {
    this.pause();
    this.#timer = setTimeout(() => {
      this.#expired = true;
      this.#controller.abort();
    }, this.#seconds * 1000);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.pause();
    this.#caller.removeEventListener("abort", this.#forward);
    this.#controller.abort();
  }

  /** Why reading or sending failed; `otherwise` begins the sentence when it was neither of the two reasons. */
  explain(error: unknown, otherwise: string): EverloraError {
    this.end();
    if (error instanceof EverloraError) return error;
    if (this.#expired) return new EverloraError("upstream_timeout", `The upstream sent nothing for ${this.#seconds} s.`);
    if (this.#caller.aborted) return new EverloraError("cancelled", "The request was aborted.");
    // fetch says only "fetch failed"; its cause names the address.
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return new EverloraError("upstream_error", `${otherwise}: ${messageOf(cause)}`, { cause: error });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new EverloraError("upstream_error", "The upstream sent something that is not JSON.");
  }
}
