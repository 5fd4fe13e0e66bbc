/**
 * What a server's refusal, or its silence, means for our caller: status → our error, and whether the same request may work a moment later.
 * What the caller did wrong stays the caller's; all else is the server's.
 */
import { z } from "zod";
import { EverloraError, type ErrorCode } from "../../../shared/errors/errors.ts";

/** One attempt that failed. Never leaves this folder: the retries unwrap it. */
export class AttemptFailure extends Error {
  readonly failure: EverloraError;
  /** Nothing of it was done, or doing it again is harmless: may be tried again. */
  readonly again: boolean;
  /** The server is unwell: counts for the circuit breaker. */
  readonly unwell: boolean;
  /** The server's own wish how long to wait. */
  readonly afterMs: number | undefined;

  constructor(failure: EverloraError, traits: { again: boolean; unwell: boolean; afterMs?: number | undefined }) {
    super(failure.message, { cause: failure });
    this.failure = failure;
    this.again = traits.again;
    this.unwell = traits.unwell;
    this.afterMs = traits.afterMs;
  }
}

const bodySchema = z.object({ error: z.union([z.string(), z.looseObject({ message: z.string().nullish(), code: z.union([z.string(), z.number()]).nullish(), param: z.string().nullish() })]) });
/** vLLM before 0.10: the fields stand at the top. */
const flatSchema = z.looseObject({ object: z.literal("error"), message: z.string(), code: z.union([z.string(), z.number()]).nullish(), param: z.string().nullish() });

const byStatus: Readonly<Record<number, ErrorCode>> = {
  400: "invalid_request",
  404: "model_not_found",
  408: "upstream_timeout",
  413: "body_too_large",
  422: "invalid_request",
  429: "rate_limited",
  504: "upstream_timeout",
};
const again = new Set([408, 425, 429, 500, 502, 503, 504]);

/** @param who "upstream"; @param text the body of the refusal, possibly cut; @param retryAfter the header as it came */
export function refusalOf(who: string, status: number, text: string, retryAfter: string | undefined): AttemptFailure {
  const seconds = secondsOf(retryAfter);
  const traits = { again: again.has(status), unwell: status >= 500 || status === 408, afterMs: seconds === undefined ? undefined : seconds * 1_000 };
  // Servers quote the key, or a part of it, when they refuse it: their words go no further.
  if (status === 401 || status === 403) return new AttemptFailure(new EverloraError("upstream_error", `The ${who} refused the gateway's key (status ${status}).`, { hint: `Set ${who === "upstream" ? "UPSTREAM_API_KEY" : "SERVING_API_KEY"} to a key that it accepts.` }), traits);
  const detail = detailOf(text);
  const code = detail?.code === "context_length_exceeded" ? "context_length_exceeded" : (byStatus[status] ?? "upstream_error");
  const words = detail?.message === undefined || detail.message === null ? "" : `: ${detail.message.slice(0, 500)}`;
  const error = new EverloraError(code, `The ${who} answered with status ${status}${words}`, {
    ...(typeof detail?.param === "string" ? { param: detail.param } : {}),
    ...(seconds === undefined ? {} : { details: { retry_after: seconds } }),
  });
  return new AttemptFailure(error, traits);
}

/** An error that came as an event in the middle of a stream, or undefined when the event is none. */
export function eventFailure(who: string, event: unknown): EverloraError | undefined {
  if (typeof event !== "object" || event === null || !("error" in event)) return undefined;
  const parsed = bodySchema.safeParse(event);
  if (!parsed.success) return undefined;
  const { error } = parsed.data;
  return new EverloraError("upstream_error", `The ${who} stopped in the middle of the answer: ${(typeof error === "string" ? error : (error.message ?? "no reason given")).slice(0, 500)}`);
}

interface Detail {
  readonly message?: string | null | undefined;
  readonly code?: string | number | null | undefined;
  readonly param?: string | null | undefined;
}

function detailOf(text: string): Detail | undefined {
  try {
    const json: unknown = JSON.parse(text);
    const error = bodySchema.safeParse(json).data?.error ?? flatSchema.safeParse(json).data;
    return typeof error === "string" ? { message: error } : error;
  } catch {
    return undefined;
  }
}

/** Seconds or an HTTP date. */
function secondsOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(1, Math.ceil(seconds)), 3_600) : undefined;
}
