/** What an upstream's refusal means for our caller: status → our error. What the caller did wrong stays the caller's; all else is the upstream's. */
import { z } from "zod";
import { EverloraError, type ErrorCode } from "../../../shared/errors/errors.ts";

const bodySchema = z.object({ error: z.union([z.string(), z.looseObject({ message: z.string().nullish(), code: z.union([z.string(), z.number()]).nullish(), param: z.string().nullish() })]) });

const byStatus: Readonly<Record<number, ErrorCode>> = {
  400: "invalid_request",
  404: "model_not_found",
  408: "upstream_timeout",
  413: "body_too_large",
  422: "invalid_request",
  429: "rate_limited",
  504: "upstream_timeout",
};

/** @param text the body of the refusal, possibly cut; @param retryAfter the header as it came */
export function upstreamFailure(status: number, text: string, retryAfter: string | null): EverloraError {
  // Servers quote the key, or a part of it, when they refuse it: their words go no further.
  if (status === 401 || status === 403) return new EverloraError("upstream_error", `The upstream refused the gateway's key (status ${status}).`, { hint: "Set UPSTREAM_API_KEY to a key that UPSTREAM_URL accepts." });
  const error = errorOf(text);
  const detail = typeof error === "string" ? { message: error } : error;
  const code = detail?.code === "context_length_exceeded" ? "context_length_exceeded" : (byStatus[status] ?? "upstream_error");
  const words = detail?.message === undefined || detail.message === null ? "" : `: ${detail.message.slice(0, 500)}`;
  const seconds = secondsOf(retryAfter);
  return new EverloraError(code, `The upstream answered with status ${status}${words}`, {
    ...(detail !== undefined && "param" in detail && typeof detail.param === "string" ? { param: detail.param } : {}),
    ...(seconds === undefined ? {} : { details: { retry_after: seconds } }),
  });
}

/** An error that came as an event in the middle of a stream, or undefined when the event is none. */
export function eventFailure(event: unknown): EverloraError | undefined {
  const parsed = bodySchema.safeParse(event);
  if (!parsed.success) return undefined;
  const { error } = parsed.data;
  return new EverloraError("upstream_error", `The upstream stopped in the middle of the answer: ${(typeof error === "string" ? error : (error.message ?? "no reason given")).slice(0, 500)}`);
}

function errorOf(text: string) {
  try {
    return bodySchema.safeParse(JSON.parse(text)).data?.error;
  } catch {
    return undefined;
  }
}

/** Seconds or an HTTP date. */
function secondsOf(header: string | null): number | undefined {
  if (header === null) return undefined;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(1, Math.ceil(seconds)), 3_600) : undefined;
}
