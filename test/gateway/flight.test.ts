import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, it } from "node:test";
import { Flight, mostAhead } from "../../services/gateway/cache/flight.ts";
import type { Chunk } from "../../services/gateway/chat/completion.ts";
import { until } from "../support/wait.ts";

const head = { id: "chatcmpl-own", created: 1, model: "m" };
const total = 3 * mostAhead;
const never = new AbortController().signal;

/** A source that never waits, and tells how much was read of it. */
function source() {
  const seen = { read: 0, ended: false };
  const work = {
    kind: "upstream" as const,
    async *stream(signal: AbortSignal): AsyncGenerator<Chunk, void, undefined> {
      try {
        for (let at = 0; at < total; at++) {
          if (signal.aborted) return;
          seen.read++;
          yield { id: "x", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta: { content: `${at} ` }, finish_reason: at === total - 1 ? "stop" : null }] };
          await Promise.resolve();
        }
      } finally {
        seen.ended = true;
      }
    },
    complete: () => Promise.reject(new Error("not asked for")),
  };
  return { seen, work };
}

/** Long enough for a source that isn't held back to be read to its end: it takes a few microtasks a chunk. */
async function settle(): Promise<void> {
  for (let at = 0; at < 100; at++) await turn();
}

const rest = async (reader: AsyncIterable<Chunk>) => {
  let text = "";
  for await (const { choices } of reader) text += choices?.[0]?.delta?.content ?? "";
  return text;
};
const from = (first: number) => Array.from({ length: total - first }, (_, at) => `${first + at} `).join("");

describe("a flight", () => {
  it("reads so far ahead of the fastest reader and no further, and goes on with it", async () => {
    const { seen, work } = source();
    const flight = new Flight("c");
    const slow = flight.share(work, head).stream(never)[Symbol.asyncIterator]();
    await slow.next();
    await settle();
    assert.ok(seen.read <= mostAhead + 1, `${seen.read} chunks for the one that was taken`);
    assert.ok(seen.read >= mostAhead, `${seen.read} chunks`);
    // One who reads to the end is not kept waiting by the one who doesn't; nor does he lose what he hasn't taken.
    assert.equal(await rest(flight.share(work, head).stream(never)), from(0));
    assert.equal(seen.read, total);
    assert.equal(await rest({ [Symbol.asyncIterator]: () => slow }), from(1));
  });

  it("is read to its end for one who wants the whole", async () => {
    const { seen, work } = source();
    const flight = new Flight("c");
    const slow = flight.share(work, head).stream(never)[Symbol.asyncIterator]();
    await slow.next();
    await settle();
    const whole = await flight.share(work, head).complete(never);
    assert.equal(whole.choices[0]?.message.content, from(0));
    assert.equal(seen.read, total);
    await slow.return?.(undefined);
  });

  it("is given up while it is held back, when its readers leave", async () => {
    const { seen, work } = source();
    const reader = new Flight("c").share(work, head).stream(never)[Symbol.asyncIterator]();
    await reader.next();
    await settle();
    await reader.return?.(undefined);
    await until("the source to be let go", () => seen.ended);
    assert.ok(seen.read < total);
  });
});
