/**
 * Every error that a user can meet, as one table: code → HTTP status, OpenAI error type, and the hint that says how to mend it.
 * Responsible for: the table, the error class, and its JSON shape `{error: {code, message, type, param?, hint}}`.
 * Not responsible for: sending it (shared/http) or logging it.
 */
interface ErrorRow {
  readonly status: number;
  readonly type: "invalid_request_error" | "authentication_error" | "not_found_error" | "conflict_error" | "rate_limit_error" | "server_error";
  /** Used when the thrower has nothing more specific to say. */
  readonly hint: string;
  /** Will the same request work later? Decides retries of jobs and the Retry-After header. */
  readonly retryable?: boolean;
}

const invalid = "invalid_request_error";
export const errorTable = {
  invalid_request: { status: 400, type: invalid, hint: "Compare the named field with the documentation of this route." },
  invalid_json: { status: 400, type: invalid, hint: "Send a JSON body with Content-Type: application/json." },
  body_too_large: { status: 413, type: invalid, hint: "Send a smaller body, or split the conversation." },
  headers_too_large: { status: 431, type: invalid, hint: "Send shorter headers: all of them and the path may have 16 kB." },
  request_timeout: { status: 408, type: invalid, hint: "Send the whole request within a minute." },
  context_length_exceeded: { status: 400, type: invalid, hint: "Shorten the messages or lower max_tokens." },
  missing_api_key: { status: 401, type: "authentication_error", hint: "Send the header 'Authorization: Bearer <key>'; the key was printed at the first start and stands in .everlora/api-key of the data folder." },
  invalid_api_key: { status: 401, type: "authentication_error", hint: "Check the key; it stands in .everlora/api-key of the data folder." },
  route_not_found: { status: 404, type: "not_found_error", hint: "See docs/api.md for the routes." },
  cache_entry_not_found: { status: 404, type: "not_found_error", hint: "Send the id that x-everlora-conversation named, with the user that the chat request named; it may have expired." },
  forbidden: { status: 403, type: "authentication_error", hint: "Send CACHE_ADMIN_KEY in x-everlora-admin-key, or leave other callers' entries alone." },
  model_not_found: { status: 404, type: "not_found_error", hint: "GET /v1/models lists what can be named." },
  unknown_domain: { status: 404, type: "not_found_error", hint: "Use one of the configured domains." },
  run_not_found: { status: 404, type: "not_found_error", hint: "GET /runs lists the runs." },
  run_corrupted: { status: 500, type: "server_error", hint: "The run's record is damaged; look at runs/<id>/run.json, or delete the folder." },
  adapter_not_found: { status: 404, type: "not_found_error", hint: "GET /adapters lists the adapters." },
  dataset_not_found: { status: 404, type: "not_found_error", hint: "GET /datasets lists the datasets." },
  job_exists: { status: 409, type: "conflict_error", hint: "Wait for the job that is already there, or cancel it." },
  conflict: { status: 409, type: "conflict_error", hint: "Read the current state and try again." },
  too_few_examples: { status: 422, type: invalid, hint: "Collect more conversations, lower MIN_EXAMPLES_PER_DOMAIN, or send \"force\": true." },
  unprocessable: { status: 422, type: invalid, hint: "Mend the named value." },
  rate_limited: { status: 429, type: "rate_limit_error", hint: "Retry after the time in the Retry-After header.", retryable: true },
  overloaded: { status: 503, type: "server_error", hint: "Retry after the time in the Retry-After header.", retryable: true },
  fine_tuning_disabled: { status: 409, type: "conflict_error", hint: "Set ENABLE_FINE_TUNING=true and restart." },
  invalid_settings: { status: 500, type: "server_error", hint: "Mend the named environment variables and start again." },
  already_running: { status: 409, type: "conflict_error", hint: "Stop the other one first (Ctrl-C where it runs), or choose another folder: DATA_DIR=/another/folder ./everlora up" },
  service_failed: { status: 500, type: "server_error", hint: "The lines of its log just above say why." },
  redis_missing: { status: 500, type: "server_error", hint: "Install redis-server (or valkey-server) with the system's package manager, or set REDIS_URL to a server that is there already." },
  port_in_use: { status: 500, type: "server_error", hint: "Stop the other program or choose another port." },
  redis_unavailable: { status: 503, type: "server_error", hint: "Check that Redis is running and that REDIS_URL names it.", retryable: true },
  redis_misconfigured: { status: 500, type: "server_error", hint: "Set the named Redis option." },
  upstream_error: { status: 502, type: "server_error", hint: "Check UPSTREAM_URL, UPSTREAM_API_KEY and the upstream's own log.", retryable: true },
  upstream_timeout: { status: 504, type: "server_error", hint: "Retry, or raise UPSTREAM_TIMEOUT.", retryable: true },
  upstream_unavailable: { status: 503, type: "server_error", hint: "Retry after the time in the Retry-After header; the gateway's log says what failed before.", retryable: true },
  deadline_exceeded: { status: 504, type: "server_error", hint: "Ask for less, give the request more time, or raise REQUEST_TIMEOUT." },
  engine_unavailable: { status: 503, type: "server_error", hint: "The engine is starting again; retry shortly.", retryable: true },
  engine_failed: { status: 500, type: "server_error", hint: "See the gateway's log for the engine's own message." },
  device_unavailable: { status: 500, type: "server_error", hint: "Set COMPUTE_DEVICE=auto, or mend what the message names." },
  model_download_failed: { status: 502, type: "server_error", hint: "Check BASE_MODEL, HUB_URL and the network.", retryable: true },
  invalid_model_folder: { status: 500, type: "server_error", hint: "Point BASE_MODEL at a complete Hugging Face folder (config.json, *.safetensors, tokenizer.json)." },
  invalid_safetensors: { status: 422, type: invalid, hint: "Fetch or write the file again; it is damaged or not a safetensors file." },
  adapter_corrupted: { status: 422, type: invalid, hint: "Publish the adapter again; the files are not those that its manifest names." },
  adapter_incompatible: { status: 422, type: invalid, hint: "Use an adapter that was trained for this base model." },
  dataset_invalid: { status: 422, type: invalid, hint: "Mend the rows that the message names." },
  training_failed: { status: 500, type: "server_error", hint: "See GET /runs/<id>/logs." },
  out_of_memory: { status: 500, type: "server_error", hint: "Lower TRAINING_BATCH_SIZE or TRAINING_SEQUENCE_LENGTH, or set GRADIENT_CHECKPOINTING=on." },
  disk_full: { status: 507, type: "server_error", hint: "Free space on the disk of DATA_DIR, then start the run again." },
  cancelled: { status: 409, type: "conflict_error", hint: "Start it again if that was not wanted." },
  internal_error: { status: 500, type: "server_error", hint: "This is a defect of everlora; the log has the details under the request id." },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorBody {
  error: { code: ErrorCode; message: string; type: string; param?: string; hint: string; [detail: string]: unknown };
}

export class EverloraError extends Error {
  override readonly name = "EverloraError";
  readonly code: ErrorCode;
  readonly param: string | undefined;
  readonly hint: string;
  /** Extra machine-readable fields for the error body (counts, the id of the job that is already there). */
  readonly details: Readonly<Record<string, unknown>>;

  /**
   * @param message what was wrong with which value, in one sentence
   * @param options.param the name of the field or setting at fault
   * @param options.hint how to mend it, where the table's hint is too general
   */
  constructor(code: ErrorCode, message: string, options: { param?: string; hint?: string; details?: Record<string, unknown>; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.param = options.param;
    this.hint = options.hint ?? errorTable[code].hint;
    this.details = options.details ?? {};
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    const row: ErrorRow = errorTable[this.code];
    return row.retryable === true;
  }

  toJSON(): ErrorBody {
    return {
      error: {
        ...this.details,
        code: this.code,
        message: this.message,
        type: errorTable[this.code].type,
        ...(this.param === undefined ? {} : { param: this.param }),
        hint: this.hint,
      },
    };
  }
}

/** Any thrown value as an EverloraError. What we did not foresee becomes `internal_error`, whose message tells the client nothing. */
export function toEverloraError(thrown: unknown): EverloraError {
  if (thrown instanceof EverloraError) return thrown;
  return new EverloraError("internal_error", "Something went wrong inside everlora.", { cause: thrown });
}

/** The words of any thrown value, for logs. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** zod's issues as one sentence that names each field and the value's fault: `a.b: expected number; c: too small`. */
export function describeIssues(issues: readonly { path: readonly PropertyKey[]; message: string }[], root = "body"): string {
  return issues
    .slice(0, 8)
    .map((issue) => `${issue.path.length === 0 ? root : issue.path.map(String).join(".")}: ${issue.message}`)
    .join("; ");
}
