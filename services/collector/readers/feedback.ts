/**
 * Reads the stream `feedback` as the group `collector`: a rejected conversation's row is taken out of the data, and its conversation does not come again. What was
 * approved came on `conversations`, with the approval. An entry is acknowledged after the files are as it says.
 */
import type { Logger } from "pino";
import { keyOfRow, conversationKey } from "../pipeline/pipeline.ts";
import { fallbackDomain } from "../../../shared/domains/domains.ts";
import { messageOf } from "../../../shared/errors/errors.ts";
import { parseEntry, streams, type Feedback } from "../../../shared/events/streams.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { Intake } from "../intake.ts";
import type { Store } from "../store/store.ts";
import { group } from "./stream.ts";
import { createRest } from "./rest.ts";

export interface FeedbackOptions {
  /** Of the failFast profile: it never blocks. */
  readonly redis: Redis;
  readonly store: Store;
  readonly intake: Intake;
  readonly log: Logger;
  readonly consumer: string;
  readonly intervalMs: number;
}

export interface FeedbackReader {
  stop(): Promise<void>;
}

const { key } = streams.feedback;
/** Rows are removed by writing their file anew, so many at once are better than one by one. */
const batch = 1_000;

export function startFeedbackReader(options: FeedbackOptions): FeedbackReader {
  const rest = createRest();
  const running = (async () => {
    while (!rest.stopped) {
      try {
        while (!rest.stopped && (await readOnce(options)) === batch);
      } catch (error) {
        options.log.warn({ reason: messageOf(error) }, "feedback could not be dealt with; it is tried again");
      }
      await rest.pause(options.intervalMs);
    }
  })();
  return {
    async stop() {
      rest.stop();
      await running;
    },
  };
}

/** What was handed out and not acknowledged first, then what is new. @returns how many entries there were */
async function readOnce({ redis, store, intake, log, consumer }: FeedbackOptions): Promise<number> {
  try {
    await redis.xgroup("CREATE", key, group, "0", "MKSTREAM");
  } catch (error) {
    if (!messageOf(error).startsWith("BUSYGROUP")) throw error;
  }
  await redis.xautoclaim(key, group, consumer, 60_000, "0-0", "COUNT", batch, "JUSTID");
  let entries: [string, string[] | null][] = [];
  for (const from of ["0", ">"]) {
    const reply = (await redis.xreadgroup("GROUP", group, consumer, "COUNT", batch, "STREAMS", key, from));
    entries = reply?.[0]?.[1] ?? [];
    if (entries.length > 0) break;
  }
  if (entries.length === 0) return 0;
  const rejected = new Map<string, Feedback>();
  for (const entry of entries) {
    const parsed = parseEntry("feedback", entry);
    if ("fault" in parsed) log.warn({ entry: parsed.id, reason: "not a rating" }, "an entry of the feedback is left out");
    else if (parsed.payload.rating === "rejected") rejected.set(conversationKey(parsed.payload.conversation), parsed.payload);
  }
  if (rejected.size > 0) {
    // A row is its caller's: another one's rating does not touch it.
    const removed = await intake.alone(async () => {
      const now = Date.now();
      const gone = await store.remove("rejected", (row) => rejected.get(keyOfRow(row))?.caller === row.caller, now);
      // What was rejected before it was collected must not be collected afterwards.
      const early = [...rejected.keys()].filter((conversation) => store.known(conversation) === undefined);
      if (early.length > 0) await store.write({ rows: [], drops: early.map((conversation) => ({ conversation, reason: "rejected", at: now, domain: fallbackDomain })) });
      return gone;
    });
    log.info({ ratings: rejected.size, rows: removed.length }, "rejected answers are taken out of the training data");
  }
  const ids = entries.map(([id]) => id);
  await redis.multi().xack(key, group, ...ids).xdel(key, ...ids).exec();
  return entries.length;
}
