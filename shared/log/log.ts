/**
 * One JSON logger per process (pino, to stdout). Secrets are redacted by path, and nothing here ever logs what a conversation said:
 * callers log ids, counts and hashes.
 */
import { pino, type Logger } from "pino";

export type { Logger } from "pino";

const secretPaths = ["apiKey", "authorization", "headers.authorization", "req.headers.authorization", "upstreamApiKey", "password", "token"];

/**
 * @param level a pino level name; `silent` in tests
 * Writes through process.stdout and not through pino's own destination: that one, when whoever read stdout was killed, tries the same write again
 * for ever at exit, and the process never ends.
 */
export function createLogger(service: string, level = "info"): Logger {
  // A reader that is gone is no reason to fail: the service ends for the same cause in a moment.
  process.stdout.on("error", () => undefined);
  return pino(
    {
      level,
      base: { service, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretPaths, censor: "[redacted]" },
    },
    process.stdout,
  );
}

/** For tests and for one-shot commands that report in their own way. */
export const silentLogger: Logger = pino({ level: "silent" }, { write: () => undefined });
