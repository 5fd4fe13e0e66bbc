/** How an answer that failed ends for its client: in silence when nobody is there, with a status while there is none yet, otherwise as the last event of its stream. */
import type { ServerResponse } from "node:http";
import type { Logger } from "pino";
import { toEverloraError } from "../../../shared/errors/errors.ts";
import { requestId } from "../../../shared/http/app.ts";
import type { Patience } from "./patience.ts";
import { EventWriter } from "./sse.ts";
import type { AnsweredBy, Stopwatch } from "./stopwatch.ts";

export interface BrokenAnswer {
  readonly patience: Pick<Patience, "left" | "explain">;
  readonly watch: Stopwatch;
  readonly source: AnsweredBy;
  readonly log: Logger;
}

/** @throws what is to be answered with a status, when nothing has gone out */
export async function breakOff(response: ServerResponse, thrown: unknown, { patience, watch, source, log }: BrokenAnswer): Promise<void> {
  // What the client has to mend is no failure of ours, and must not wake anybody.
  watch.end(source, patience.left ? "aborted" : toEverloraError(patience.explain(thrown)).status < 500 ? "refused" : "error");
  if (patience.left) return;
  if (!response.headersSent) throw patience.explain(thrown);
  const error = toEverloraError(patience.explain(thrown));
  log.error({ code: error.code, reason: error.message, requestId: requestId(response) }, "an answer broke off");
  // OpenAI's clients raise an APIError on this event; without [DONE] nobody takes the answer for whole.
  const events = new EventWriter(response);
  await events.data(error.toJSON()).catch(() => undefined);
  events.end();
}
