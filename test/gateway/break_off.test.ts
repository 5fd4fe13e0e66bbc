/** How an answer that failed is counted: what the client must mend apart from what we must, because the second wakes somebody. */
import assert from "node:assert/strict";
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { test } from "node:test";
import { breakOff } from "../../services/gateway/chat/break_off.ts";
import { Stopwatch } from "../../services/gateway/chat/stopwatch.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";

const cases = [
  [new EverloraError("context_length_exceeded", "too long"), "refused"],
  [new EverloraError("invalid_request", "a schema that can't be kept to"), "refused"],
  [new EverloraError("engine_failed", "broken"), "error"],
  [new EverloraError("overloaded", "too much to do"), "error"],
  [new Error("nobody foresaw this"), "error"],
] as const;
for (const [thrown, outcome] of cases) {
  test(`${thrown.message} counts as ${outcome}, and is thrown on for its status`, async () => {
    const metrics = createMetrics("gateway");
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    const patience = { signal: new AbortController().signal, left: false, explain: (error: unknown) => error };
    await assert.rejects(breakOff(response, thrown, { patience, watch: new Stopwatch(metrics), source: "base", log: silentLogger }), (error) => error === thrown);
    const counted = (await metrics.inferenceRequests.get()).values.filter(({ value }) => value > 0);
    assert.deepEqual(
      counted.map(({ labels, value }) => [labels.source, labels.outcome, value]),
      [["base", outcome, 1]],
    );
  });
}
