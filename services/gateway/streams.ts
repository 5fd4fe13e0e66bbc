/** Follows one Redis stream from a given entry on, in order, over a connection of its own, for as long as the gateway lives. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { messageOf } from "../../shared/errors/errors.ts";
import { parseEntry, streams, type StreamName, type StreamPayload } from "../../shared/events/streams.ts";
import type { Redis } from "../../shared/redis/redis.ts";

const blockMs = 5_000;
const pauseMs = 1_000;

export interface FollowOptions {
  /** Between two reads, so that a busy stream is read in batches. Default: none. */
  readonly restMs?: number;
  /** Entries that need not be parsed, by their JSON: the follower's own. */
  readonly skip?: (json: string) => boolean;
}

export interface Following {
  close(): Promise<void>;
}

/** Id of the newest entry: what comes after it is news. `0-0` for an empty stream. */
export async function newestId(redis: Redis, name: StreamName): Promise<string> {
  const [newest] = await redis.xrevrange(streams[name].key, "+", "-", "COUNT", 1);
  return newest?.[0] ?? "0-0";
}

/**
 * @param connection of the patient profile and for nobody else: a blocking read holds it. Closed with the following.
 * @param handle is awaited before the next entry; what it throws is logged and the stream goes on
 */
export function follow<Name extends StreamName>(connection: Redis, name: Name, from: string, handle: (payload: StreamPayload<Name>) => Promise<void> | void, log: Logger, { restMs = 0, skip }: FollowOptions = {}): Following {
  let closed = false;
  let cursor = from;
  const pause = new AbortController();

  const readOnce = async () => {
    const reply = await connection.xread("COUNT", 100, "BLOCK", blockMs, "STREAMS", streams[name].key, cursor);
    for (const entry of reply?.[0]?.[1] ?? []) {
      if (closed) return;
      cursor = entry[0];
      if (skip !== undefined && entry[1]?.some(skip)) continue;
      const parsed = parseEntry(name, entry);
      if ("fault" in parsed) log.warn({ stream: name, id: parsed.id, fault: parsed.fault }, "skipped a stream entry");
      else
        try {
          await handle(parsed.payload);
        } catch (error) {
          log.error({ stream: name, id: parsed.id, reason: messageOf(error) }, "a stream entry could not be handled");
        }
    }
  };
  const loop = async () => {
    while (!closed)
      try {
        await readOnce();
        if (restMs > 0) await sleep(restMs, undefined, { signal: pause.signal });
      } catch (error) {
        if (closed) return;
        log.warn({ stream: name, reason: messageOf(error) }, "cannot read the stream; trying again");
        await sleep(pauseMs, undefined, { signal: pause.signal }).catch(() => undefined);
      }
  };
  const running = loop();
  return {
    close: async () => {
      closed = true;
      pause.abort();
      const { status } = connection;
      connection.disconnect();
      // A client that was waiting to reconnect settles nothing any more; its read is simply forgotten.
      if (status === "ready") await running;
    },
  };
}
