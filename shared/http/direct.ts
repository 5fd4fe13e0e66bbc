/**
 * Routes that are asked for a thousand times a second, served past Express: its router and body parser cost as much as all the rest of a short answer
 * (test/bench/LOG.md). Only what every ordinary client sends is taken here: a POST of JSON in UTF-8 with its length, to exactly this path. Whatever
 * differs in anything goes to the app, which must have the same route. Authentication, counting and errors are the app's own.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Logger } from "pino";
import { EverloraError, messageOf } from "../errors/errors.ts";
import type { CommonMetrics } from "../metrics/metrics.ts";
import { answerError, countRequest } from "./app.ts";
import { keyCheck } from "./auth.ts";

export interface DirectRoute {
  readonly path: string;
  /** @param body the parsed JSON. What it throws is answered as the app does. */
  handle(request: IncomingMessage, body: unknown, response: ServerResponse): Promise<void>;
}

export interface DirectOptions {
  readonly routes: readonly DirectRoute[];
  readonly apiKey: string;
  readonly metrics: CommonMetrics;
  readonly log: Logger;
  readonly maxBodyBytes: number;
}

/** @param app what serves everything else */
export function withDirectRoutes(app: RequestListener, { routes, apiKey, metrics, log, maxBodyBytes }: DirectOptions): RequestListener {
  const byPath = new Map(routes.map((route) => [route.path, route]));
  const refuse = keyCheck(apiKey, metrics);
  return (request, response) => {
    const route = byPath.get(request.url ?? "");
    if (route === undefined || !isOrdinary(request, maxBodyBytes)) return app(request, response);
    const routeOf = () => route.path;
    countRequest(metrics, request, response, routeOf);
    const fail = (thrown: unknown) => {
      if (!answerError(log, thrown, route.path, response)) response.destroy();
    };
    const refused = refuse(request.headers);
    if (refused !== undefined) return fail(refused);
    readJson(request, (body) => void route.handle(request, body, response).catch(fail), fail);
  };
}

function isOrdinary({ method, headers }: IncomingMessage, maxBodyBytes: number): boolean {
  if (method !== "POST" || headers["content-encoding"] !== undefined) return false;
  const type = headers["content-type"];
  if (type !== "application/json" && (type === undefined || !/^application\/json; ?charset=utf-8$/i.test(type))) return false;
  const length = Number(headers["content-length"]);
  return length > 0 && length <= maxBodyBytes;
}

/** Node's parser ends the body at its content-length. A body that breaks off has nobody left to be told. */
function readJson(request: IncomingMessage, done: (body: unknown) => void, fail: (error: unknown) => void): void {
  const pieces: Buffer[] = [];
  request.on("data", (piece: Buffer) => pieces.push(piece));
  request.once("end", () => {
    const [only] = pieces;
    let body: unknown;
    try {
      body = JSON.parse((pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces)).toString());
    } catch (error) {
      return fail(new EverloraError("invalid_json", `The body is not JSON: ${messageOf(error)}`));
    }
    done(body);
  });
}
