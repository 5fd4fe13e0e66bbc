/** From a request to values: strict schemas, so that a misspelt field is an error and not a silence; and Redis' absence as a 503. */
import type { Request, RequestHandler, Response } from "express";
import { z } from "zod";
import { EverloraError, describeIssues } from "../../shared/errors/errors.ts";
import { handler } from "../../shared/http/app.ts";
import { explainRedisError } from "../../shared/redis/faults.ts";

/** A route of control. */
export function route(handle: (request: Request, response: Response) => Promise<void>): RequestHandler {
  return handler(async (request, response) => {
    try {
      await handle(request, response);
    } catch (error) {
      throw explainRedisError(error);
    }
  });
}

/** @throws EverloraError invalid_request that names each field at fault */
export function parseBody<T>(schema: z.ZodType<T>, request: Request): T {
  return parse(schema, request.body ?? {}, "body");
}

/** @throws EverloraError invalid_request that names each parameter at fault */
export function parseQuery<T>(schema: z.ZodType<T>, request: Request): T {
  return parse(schema, { ...request.query }, "query");
}

/** A named part of the path, as Express decoded it. */
export function pathPart(request: Request, name: string): string {
  const value = request.params[name];
  return typeof value === "string" ? value : "";
}

/** A number in a query string. */
export const countSchema = (least: number, most: number, otherwise: number) => z.coerce.number().int().min(least).max(most).default(otherwise);

function parse<T>(schema: z.ZodType<T>, value: unknown, root: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const param = parsed.error.issues[0]?.path.map(String).join(".");
  throw new EverloraError("invalid_request", `The ${root} is not valid: ${describeIssues(parsed.error.issues, root)}.`, param === undefined || param === "" ? {} : { param });
}
