/**
 * One request to another server over kept-alive connections, under four time-outs: to connect, to the first byte, between two bytes, and in all.
 * node:http and not fetch: fetch with its web streams cost half of the gateway's time per request (test/bench/LOG.md), and knows none of these time-outs.
 * Not responsible for: retries (retry.ts), what the answer means (upstream.ts).
 */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { AttemptFailure, refusalOf } from "./failure.ts";

/** Seconds. */
export interface TimeOuts {
  readonly connect: number;
  /** To the first byte of the answer, and then between two of its pieces. */
  readonly silence: number;
  readonly total: number;
}

export interface HttpClientOptions {
  /** How errors call the server: "upstream". */
  readonly who: string;
  /** Up to and including /v1. */
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly timeOuts: TimeOuts;
}

const largestRefusal = 16 << 10;
const drainMs = 1_000;

export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #base: URL;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.#base = new URL(`${options.url.replace(/\/+$/, "")}/`);
    const keep = { keepAlive: true, maxFreeSockets: 256, scheduling: "lifo" } as const;
    this.#agent = this.#base.protocol === "https:" ? new HttpsAgent(keep) : new HttpAgent(keep);
  }

  close(): void {
    this.#agent.destroy();
  }

  /**
   * @param path below the base, or from the root when it begins with /; @param body undefined: a GET
   * @throws AttemptFailure unless the answer's status is 2xx
   */
  async send(path: string, body: string | undefined, accept: string, signal: AbortSignal): Promise<Reply> {
    const { who } = this.#options;
    for (let attempt = 0; ; attempt++) {
      const exchange = new Exchange(this.#options, signal);
      const request = this.#open(path, body, accept);
      let response: IncomingMessage;
      try {
        response = await exchange.begin(request, body);
      } catch (error) {
        // The server closed the kept connection just as we took it up: it never saw the request.
        if (request.reusedSocket && attempt === 0 && isReset(error) && !signal.aborted) {
          exchange.end(false);
          continue;
        }
        throw exchange.explain(error, `Cannot reach the ${who}`);
      }
      const reply = new Reply(response, exchange);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return reply;
      const text = await reply.all(largestRefusal).catch(() => "");
      reply.leave();
      throw refusalOf(who, status, text, response.headers["retry-after"]);
    }
  }

  #open(path: string, body: string | undefined, accept: string): ClientRequest {
    const { apiKey } = this.#options;
    const base = this.#base;
    const headers: Record<string, string> = { accept, host: base.host };
    if (body !== undefined) {
      headers["content-type"] = "application/json";
      headers["content-length"] = String(Buffer.byteLength(body));
    }
    if (apiKey !== undefined) headers["authorization"] = `Bearer ${apiKey}`;
    const options = { agent: this.#agent, method: body === undefined ? "GET" : "POST", protocol: base.protocol, hostname: base.hostname.replace(/^\[|\]$/g, ""), port: base.port, path: path.startsWith("/") ? path : base.pathname + path, headers };
    // Redirects are not followed: they would hand the key to an address that nobody configured.
    return base.protocol === "https:" ? httpsRequest(options) : httpRequest(options);
  }
}

const isReset = (error: unknown) => error instanceof Error && "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");

/** One request and its answer under the time-outs. Whoever gives up first, the caller or a timer, ends the connection. */
class Exchange {
  readonly #options: HttpClientOptions;
  readonly #caller: AbortSignal;
  readonly #total: NodeJS.Timeout;
  #timer: NodeJS.Timeout | undefined;
  #request: ClientRequest | undefined;
  #expired: EverloraError | undefined;
  #connected = false;
  #over = false;

  constructor(options: HttpClientOptions, caller: AbortSignal) {
    this.#options = options;
    this.#caller = caller;
    const { total } = options.timeOuts;
    this.#total = setTimeout(() => this.#expire(`The ${options.who} had not ended its answer after ${total} s.`), total * 1_000);
  }

  begin(request: ClientRequest, body: string | undefined): Promise<IncomingMessage> {
    const { who, timeOuts } = this.#options;
    this.#request = request;
    this.#caller.addEventListener("abort", this.#leave);
    return new Promise<IncomingMessage>((resolve, reject) => {
      request.once("response", (response) => {
        this.pause();
        resolve(response);
      });
      request.on("error", reject);
      request.once("close", () => reject(new Error("the connection was closed")));
      request.once("socket", (socket) => {
        if (!socket.connecting) this.#onConnected();
        else {
          this.#arm(timeOuts.connect, `No connection to the ${who} within ${timeOuts.connect} s.`);
          socket.once("connect", () => this.#onConnected());
        }
      });
      if (this.#caller.aborted) this.#leave();
      else request.end(body);
    });
  }

  /** The next piece must come in time. */
  restart(): void {
    const { who, timeOuts } = this.#options;
    this.#arm(timeOuts.silence, `The ${who} sent nothing for ${timeOuts.silence} s.`);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  /** @param whole nothing more is to come: the connection may serve another request */
  end(whole: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.pause();
    clearTimeout(this.#total);
    this.#caller.removeEventListener("abort", this.#leave);
    if (!whole) this.#request?.destroy();
  }

  /** Why it failed; `otherwise` begins the sentence when it was neither a time-out nor the caller. */
  explain(error: unknown, otherwise: string): AttemptFailure {
    this.end(false);
    if (error instanceof AttemptFailure) return error;
    if (this.#expired !== undefined) return new AttemptFailure(this.#expired, { again: !this.#connected, unwell: true });
    if (this.#caller.aborted) return new AttemptFailure(new EverloraError("cancelled", "The request was aborted."), { again: false, unwell: false });
    return new AttemptFailure(new EverloraError("upstream_error", `${otherwise}: ${messageOf(error)}`, { cause: error }), { again: true, unwell: true });
  }

  #onConnected(): void {
    this.#connected = true;
    this.restart();
  }

  #arm(seconds: number, words: string): void {
    clearTimeout(this.#timer);
    if (!this.#over) this.#timer = setTimeout(() => this.#expire(words), seconds * 1_000);
  }

  #expire(words: string): void {
    this.#expired ??= new EverloraError("upstream_timeout", words);
    this.#request?.destroy(this.#expired);
  }

  readonly #leave = () => void this.#request?.destroy(new Error("the caller left"));
}

/** An answer whose body is read under the time-outs. */
export class Reply {
  readonly #response: IncomingMessage;
  readonly #exchange: Exchange;
  #drained = false;

  constructor(response: IncomingMessage, exchange: Exchange) {
    this.#response = response.setEncoding("utf8");
    this.#exchange = exchange;
    response.on("error", () => undefined); // whoever reads meets it; without a reader it must not end the process
  }

  get type(): string {
    return this.#response.headers["content-type"] ?? "";
  }

  /** The body as it comes; the next piece is asked for when the one before was taken. @throws AttemptFailure */
  async *texts(): AsyncGenerator<string, void, undefined> {
    const pieces = this.#response[Symbol.asyncIterator]() as AsyncIterator<string, unknown>;
    try {
      for (;;) {
        this.#exchange.restart();
        const { done, value } = await pieces.next();
        this.#exchange.pause(); // the time that our own client takes is not the server's
        if (done === true) break;
        yield value;
      }
    } catch (error) {
      throw this.#broken(error);
    }
    this.#end();
  }

  /** @throws AttemptFailure when it breaks off or has more than `most` characters */
  async all(most: number): Promise<string> {
    const response = this.#response;
    let text = "";
    try {
      await new Promise<void>((resolve, reject) => {
        this.#exchange.restart();
        response.on("data", (piece: string) => {
          this.#exchange.restart();
          text += piece;
          if (text.length > most) reject(new AttemptFailure(new EverloraError("upstream_error", `The server's answer is longer than ${most} characters.`), { again: false, unwell: false }));
        });
        response.once("end", resolve);
        response.once("error", reject);
        response.once("close", () => reject(new Error("the connection was closed")));
      });
    } catch (error) {
      throw this.#broken(error);
    }
    this.#end();
    return text;
  }

  /** Nothing that matters is to come, only the end that lets the connection serve another request; it has a moment for that. */
  drain(): void {
    const response = this.#response;
    this.#drained = true;
    const give = setTimeout(() => this.#exchange.end(false), drainMs);
    response.once("close", () => clearTimeout(give));
    response.once("end", () => this.#exchange.end(true));
    response.resume();
  }

  /** Ends the connection unless all was read. */
  leave(): void {
    if (this.#drained) return;
    this.#exchange.end(this.#response.complete && this.#response.readableEnded);
  }

  #end(): void {
    // Node tells of a body that is shorter than its content-length by `complete` alone in some cases.
    if (!this.#response.complete) throw this.#broken(new Error("it is shorter than its headers said"));
    this.#exchange.end(true);
  }

  #broken(error: unknown): AttemptFailure {
    return this.#exchange.explain(error, "The server's answer broke off");
  }
}
