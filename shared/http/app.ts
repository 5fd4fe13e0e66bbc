/**
 * What the four HTTP servers share: default-deny authentication, /healthz, /readyz, /metrics, counting, and errors in one shape.
 * Not responsible for any route of a service: those come in as a router.
 */
import { randomUUID } from "node:crypto";
import { createServer, STATUS_CODES, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import express, { type ErrorRequestHandler, type Express, type NextFunction, type Request, type RequestHandler, type Response, type Router } from "express";
import type { Logger } from "pino";
import { EverloraError, messageOf, toEverloraError } from "../errors/errors.ts";
import type { CommonMetrics } from "../metrics/metrics.ts";
import { requireApiKey } from "./auth.ts";

export interface AppOptions {
  readonly router: Router;
  readonly apiKey: string;
  readonly metrics: CommonMetrics;
  readonly log: Logger;
  readonly maxBodyBytes: number;
  /** null when ready, otherwise the reason why not. */
  readonly notReady: () => string | null;
  /** What else /readyz says, for people: the state of parts that make nobody unready. */
  readonly health?: () => Readonly<Record<string, unknown>>;
}

/** The app as a value: tests drive it without a port. Every route but /healthz and /readyz needs the key. */
export function createApp(options: AppOptions): Express {
  const { metrics, log } = options;
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use(countRequests(metrics));
  app.get("/healthz", (_request, response) => {
    response.json({ status: "ok" });
  });
  app.get("/readyz", (_request, response) => {
    const reason = options.notReady();
    if (reason === null) response.json({ status: "ready", ...options.health?.() });
    else response.status(503).json({ status: "not ready", reason, ...options.health?.() });
  });
  app.use(requireApiKey(options.apiKey, metrics));
  app.get("/metrics", (_request, response, next) => {
    metrics.registry
      .metrics()
      .then((text) => response.type(metrics.registry.contentType).send(text))
      .catch(next);
  });
  app.use(express.json({ limit: options.maxBodyBytes, strict: false }));
  app.use(refuseOtherBodies);
  app.use(options.router);
  app.use((request: Request) => {
    throw new EverloraError("route_not_found", `There is no route ${request.method} ${request.path}.`);
  });
  app.use(sendError(log));
  return app;
}

/** What `express.json` leaves alone has another Content-Type: curl's default is a form's. A route would take it for no body at all, and do the most for it. */
const refuseOtherBodies: RequestHandler = (request, _response, next) => {
  const { "content-length": length, "transfer-encoding": encoding, "content-type": type } = request.headers;
  if (request.body !== undefined || (encoding === undefined && (length === undefined || Number(length) === 0))) return next();
  next(new EverloraError("invalid_json", type === undefined ? "The body has no Content-Type." : `The body's Content-Type is ${JSON.stringify(type)}.`));
};

export interface Listening {
  readonly url: string;
  readonly port: number;
  /** Stops accepting, ends idle connections, and waits for those in use for at most `graceMs`. */
  close(graceMs?: number): Promise<void>;
}

/** HOST is at fault, not the port: there is no such name or address, or it is not this machine's. */
const cannotListen: ReadonlySet<string> = new Set(["EADDRNOTAVAIL", "ENOTFOUND", "EAI_AGAIN", "EINVAL", "EAFNOSUPPORT"]);

/**
 * Connections that may wait to be accepted (the system allows no more than its own bound, 4,096 on Linux). Node's 511 are full within a second of a busy start
 * or of a long step; Linux answers by SYN cookies then, and resets those whose acknowledgement found no place.
 */
const waitingConnections = 4_096;

/** @param setting names the port @throws EverloraError port_in_use, naming the port and the setting; invalid_settings for a HOST or port that can't be listened on */
export async function listen(app: RequestListener, host: string, port: number, setting: string): Promise<Listening> {
  const server = createServer({ requestTimeout: 60_000, headersTimeout: 30_000, keepAliveTimeout: 65_000 }, app);
  server.on("clientError", answerUnreadable);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") reject(new EverloraError("port_in_use", `${setting}=${port}: another program listens on ${host}:${port} already.`, { param: setting, hint: `Stop the other program, or set ${setting} to a free port.` }));
      else if (cannotListen.has(error.code ?? "")) reject(new EverloraError("invalid_settings", `HOST=${JSON.stringify(host)}: this machine cannot listen there: ${error.message}`, { param: "HOST", hint: "Set HOST to an address of this machine: 127.0.0.1 for this machine alone, 0.0.0.0 for every network.", cause: error }));
      else reject(new EverloraError("invalid_settings", `${setting}=${port}: cannot listen on ${host}:${port}: ${error.message}`, { param: setting, hint: `Set ${setting} to a port that this user may listen on: 1024 or more.`, cause: error }));
    });
    server.listen({ port, host, backlog: waitingConnections }, resolve);
  });
  const actual = (server.address() as AddressInfo).port;
  return { url: `http://${host.includes(":") ? `[${host}]` : host}:${actual}`, port: actual, close: (graceMs = 5_000) => closeServer(server, graceMs) };
}

/** What Node's parser refuses never reaches the app; it gets its answer in the same shape. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const answer =
    error.code === "HPE_HEADER_OVERFLOW"
      ? new EverloraError("headers_too_large", "The request's headers and path are too large.")
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? new EverloraError("request_timeout", "The request did not come to its end in time.")
        : new EverloraError("invalid_request", `The request is not HTTP: ${error.message}`);
  const body = JSON.stringify(answer.toJSON());
  const lines = [`HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ""}`, "connection: close", "content-type: application/json; charset=utf-8", `content-length: ${Buffer.byteLength(body)}`, `x-request-id: ${randomUUID()}`];
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
  // What the client still sends is thrown away: closing over unread bytes would reset the connection, and the answer with it.
  socket.resume();
  setTimeout(() => socket.destroy(), 2_000).unref();
}

function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.closeAllConnections(), graceMs);
    // A connection whose last answer ends now would be kept alive for the client's next request, and the server with it.
    const sweep = setInterval(() => server.closeIdleConnections(), 50);
    server.close(() => {
      clearTimeout(force);
      clearInterval(sweep);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** Wraps an async handler, so that what it throws reaches the error handler. (Express 5 does so too; this one also types the promise.) */
export function handler(handle: (request: Request, response: Response) => Promise<void>): RequestHandler {
  return (request: Request, response: Response, next: NextFunction) => {
    handle(request, response).catch(next);
  };
}

/** Sends JSON that is text already, or becomes it here: a third of what Express' own `json` costs, whose content negotiation no client of ours needs. */
export function sendJson(response: ServerResponse, json: object | string): void {
  // As text: Node then sends head and body in one piece.
  const body = typeof json === "string" ? json : JSON.stringify(json);
  response.setHeader("content-type", "application/json; charset=utf-8");
  response.setHeader("content-length", Buffer.byteLength(body));
  response.end(body);
}

/** The id that goes into the log, the error body's header and the client's x-request-id. */
export function requestId(response: ServerResponse): string {
  return String(response.getHeader("x-request-id"));
}

/**
 * Counts and times one request until its connection has it or is gone, and gives it its id.
 * @param routeOf asked at the end for the route's pattern, never the path: a path may hold ids, and would make a series each
 */
export function countRequest(metrics: CommonMetrics, request: IncomingMessage, response: ServerResponse, routeOf: () => string): void {
  const started = performance.now();
  response.setHeader("x-request-id", randomUUID());
  metrics.httpInFlight.inc();
  response.once("close", () => {
    const [method, route] = [request.method ?? "", routeOf()];
    metrics.httpInFlight.dec();
    metrics.httpDuration.observe({ method, route }, (performance.now() - started) / 1_000);
    metrics.httpRequests.inc({ method, route, code: String(response.statusCode) });
  });
}

function countRequests(metrics: CommonMetrics): RequestHandler {
  return (request, response, next) => {
    countRequest(metrics, request, response, () => {
      const route: unknown = (request.route as { path?: unknown } | undefined)?.path;
      return typeof route === "string" ? route : "none";
    });
    next();
  };
}

/** Answers with the error, unless the headers have gone: then it is too late for a status, and false. */
export function answerError(log: Logger, thrown: unknown, path: string, response: ServerResponse): boolean {
  const error = toEverloraError(thrown);
  if (error.status >= 500) log.error({ code: error.code, reason: messageOf(error.cause ?? error), stack: error.cause instanceof Error ? error.cause.stack : undefined, requestId: requestId(response) }, error.message);
  if (response.headersSent) return false;
  // An upstream's own Retry-After comes through as a detail.
  if (error.retryable) response.setHeader("retry-after", typeof error.details["retry_after"] === "number" ? String(error.details["retry_after"]) : "2");
  const body = error.toJSON();
  response.statusCode = error.status;
  // OpenAI's routes always have the four fields, its clients read all of them.
  sendJson(response, path.startsWith("/v1/") ? { error: { ...body.error, param: error.param ?? null } } : body);
  return true;
}

function sendError(log: Logger): ErrorRequestHandler {
  return (thrown: unknown, request, response, next) => {
    // Express cuts the connection, which is the only honest signal left.
    if (!answerError(log, fromBodyParser(thrown) ?? thrown, request.path, response)) next(thrown);
  };
}

/** Errors of Express itself (body-parser's carry a `type`) that are the client's fault and must not become 500. */
function fromBodyParser(thrown: unknown): EverloraError | undefined {
  if (thrown instanceof URIError) return new EverloraError("invalid_request", "The path is not validly percent-encoded.");
  if (!(thrown instanceof Error)) return undefined;
  switch ("type" in thrown ? String(thrown.type) : "") {
    case "entity.too.large":
      return new EverloraError("body_too_large", `The body is larger than ${"limit" in thrown ? String(thrown.limit) : "allowed"} bytes.`, { hint: "Send less, or raise MAX_BODY_BYTES." });
    case "entity.parse.failed":
      return new EverloraError("invalid_json", `The body is not JSON: ${thrown.message}`);
    case "encoding.unsupported":
    case "charset.unsupported":
    case "request.aborted":
    case "request.size.invalid":
      return new EverloraError("invalid_request", thrown.message);
    default:
      return isForClient(thrown) ? new EverloraError("invalid_request", `The body cannot be read: ${thrown.message}`) : undefined;
  }
}

/** What Express' parts made with http-errors for the client to see, for example about a body that is not the gzip that it claims to be. */
function isForClient(thrown: Error): thrown is Error & { status: number } {
  return "expose" in thrown && thrown.expose === true && "status" in thrown && typeof thrown.status === "number" && thrown.status < 500;
}
