/**
 * A run's log as server-sent events, while it grows: `event: log`, one JSON line each, its id the line's number, so that a client that lost its connection
 * goes on where it was (Last-Event-ID). When the run has ended and all is sent comes `event: end`. The file is the truth, so nothing is ever
 * lost or repeated, however often the connection breaks.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Request, Response } from "express";
import { LineReader } from "../../shared/runs/lines.ts";
import { finalStates, logFile, logLineSchema } from "../../shared/runs/run.ts";
import { runFolder } from "../../shared/runs/store.ts";
import type { ControlContext } from "./context.ts";
import { requireRun } from "./run_view.ts";

/** A client that takes nothing for this long is cut off; it will come back with its Last-Event-ID. */
const slowReaderMs = 30_000;

/** @throws EverloraError run_not_found, before anything is sent */
export async function streamLog(context: ControlContext, id: string, request: Request, response: Response): Promise<void> {
  const { logPollMs, heartbeatMs } = context.options;
  let run = await requireRun(context, id);
  const reader = new LineReader(join(runFolder(context.paths.runs, id), logFile), logLineSchema);
  const seen = lastEventId(request);
  let lines = await reader.read();
  // The end has the number after the last line. Who has seen it needs no more: 204 tells an EventSource to stay away.
  if (finalStates.includes(run.state) && seen > reader.lastId) {
    response.status(204).end();
    return;
  }
  response.status(200).set({ "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store", connection: "keep-alive", "x-accel-buffering": "no" });
  response.flushHeaders();
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  context.metrics.sseClients.inc();
  try {
    await send(response, "retry: 2000\n\n", gone.signal);
    let quietSince = Date.now();
    while (!gone.signal.aborted) {
      for (const { id: number, value } of lines) {
        if (number <= seen) continue;
        await send(response, `id: ${number}\nevent: log\ndata: ${JSON.stringify(value)}\n\n`, gone.signal);
        quietSince = Date.now();
      }
      if (finalStates.includes(run.state)) {
        await send(response, `id: ${reader.lastId + 1}\nevent: end\ndata: ${JSON.stringify({ state: run.state, generation: run.generation, error: run.error })}\n\n`, gone.signal);
        response.end();
        return;
      }
      if (Date.now() - quietSince >= heartbeatMs) {
        await send(response, ": still here\n\n", gone.signal);
        quietSince = Date.now();
      }
      await sleep(logPollMs, undefined, { signal: gone.signal });
      // First the state, then the lines: a final state is written after the last line, so the lines that follow it here are all there are.
      run = await requireRun(context, id);
      lines = await reader.read();
    }
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  } finally {
    context.metrics.sseClients.dec();
  }
}

/** The number in Last-Event-ID; what isn't one means: from the beginning. */
function lastEventId(request: Request): number {
  const text = request.get("last-event-id") ?? "";
  return /^\d{1,15}$/.test(text) ? Number(text) : 0;
}

/** Waits when the client is slower than the log. */
async function send(response: Response, text: string, gone: AbortSignal): Promise<void> {
  gone.throwIfAborted();
  if (response.write(text)) return;
  await new Promise<void>((resolve, reject) => {
    const slow = setTimeout(() => response.destroy(), slowReaderMs);
    const settle = (end: () => void) => {
      clearTimeout(slow);
      response.off("drain", drained);
      gone.removeEventListener("abort", left);
      end();
    };
    const drained = () => settle(resolve);
    const left = () => settle(() => reject(new Error("the client is gone")));
    response.once("drain", drained);
    gone.addEventListener("abort", left);
  });
}
