/**
 * One JSON logger per process (pino, to stdout). Secrets are redacted by path, and nothing here ever logs what a conversation said:
 * callers log ids, counts and hashes.
 */
import { pino, type Logger } from "pino";

export type { Logger } from "pino";

const secretPaths = ["apiKey", "authorization", "headers.authorization", "req.headers.authorization", "upstreamApiKey", "password", "token"];

/** @param level a pino level name; `silent` in tests */
export function createLogger(service: string, level = "info"): Logger {
  return pino({
    level,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: secretPaths, censor: "[redacted]" },
  });
}

/** For tests and for one-shot commands that report in their own way. */
export const silentLogger: Logger = pino({ level: "silent" });
