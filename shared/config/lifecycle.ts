/** How a service process starts and ends: closers in reverse order of opening, on SIGTERM, SIGINT, or when its parent is gone. */
import type { Logger } from "pino";
import { z } from "zod";
import { EverloraError, messageOf } from "../errors/errors.ts";

export interface RunningService {
  readonly url: string;
  /** What the person who started it should see, for example {"compute": "cpu, because …"}. */
  readonly details?: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

/** What a service tells the process that forked it, once, when it answers. */
export const readyMessageSchema = z.object({ type: z.literal("ready"), url: z.string(), details: z.record(z.string(), z.string()) });
export type ReadyMessage = z.infer<typeof readyMessageSchema>;

/**
 * Runs a service until a signal ends it. Exit codes: 0 after an orderly end, 1 when it could not start or end in time, 2 for bad settings.
 * @param graceMs how long the orderly end may take
 */
export function runService(name: string, log: Logger, start: () => Promise<RunningService>, graceMs = 20_000): void {
  let ending = false;
  let service: RunningService | undefined;
  const end = (cause: string) => {
    if (ending) return;
    ending = true;
    log.info({ cause }, `${name} is ending`);
    setTimeout(() => {
      log.error(`${name} did not end in ${graceMs} ms`);
      process.exit(1);
    }, graceMs).unref();
    (service?.close() ?? Promise.resolve()).then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ reason: messageOf(error) }, `${name} ended badly`);
        process.exit(1);
      },
    );
  };
  process.once("SIGTERM", () => end("SIGTERM"));
  process.once("SIGINT", () => end("SIGINT"));
  // Under `everlora up` the services are forked; a killed parent must not leave them behind.
  if (process.send !== undefined) {
    process.once("disconnect", () => end("parent is gone"));
    if (!process.connected) end("parent is gone"); // it went while our modules were loading
  }
  start().then(
    (started) => {
      service = started;
      log.info({ url: started.url }, `${name} is ready`);
      process.send?.({ type: "ready", url: started.url, details: started.details ?? {} } satisfies ReadyMessage);
    },
    (error: unknown) => {
      if (error instanceof EverloraError) log.fatal({ code: error.code, param: error.param, hint: error.hint }, error.message);
      else log.fatal({ reason: messageOf(error), stack: error instanceof Error ? error.stack : undefined }, `${name} could not start`);
      process.exit(error instanceof EverloraError && error.code === "invalid_settings" ? 2 : 1);
    },
  );
}
