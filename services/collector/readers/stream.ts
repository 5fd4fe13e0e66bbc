/**
 * Reads the stream `conversations` as a consumer of the group `collector`. An entry is acknowledged, and removed from the stream, only after its row or its drop
 * is on disk; what a dead consumer left is taken over. Entries that can't be read are moved aside, so that they block nothing and can be looked at. While one
 * batch is worked on and written, the next is read.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";
import { parseEntry, streams } from "../../../shared/events/streams.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { Intake } from "../intake.ts";
import { createRest, type Rest } from "./rest.ts";

export interface StreamReaderOptions {
  /** A connection of the patient profile that nobody else uses: it blocks. */
  readonly redis: Redis;
  readonly intake: Intake;
  readonly metrics: Metrics<"collector">;
  readonly log: Logger;
  /** Stable over restarts, so that a new process finds what its predecessor had not acknowledged. */
  readonly consumer: string;
  /** What is moved aside lies there for as long as nobody looks; this makes it fit for that. */
  readonly safeText: (text: string) => string;
  /** Each time that the stream has been read to its end after something was read. */
  readonly onQuiet: () => Promise<void>;
}

export interface StreamReader {
  /** There may be more to read. */
  readonly busy: boolean;
  /** Entries that were moved aside since the start. */
  readonly faulty: number;
  /** Resolves when the stream has been read to its end by a read that began after this call. */
  quiet(): Promise<void>;
  stop(): Promise<void>;
}

export const group = "collector";
const { key } = streams.conversations;
/** Where unreadable entries go, anonymised and cut off; the newest thousand are kept. */
export const faultyKey = `${key}:faulty`;
const faultyKept = 1_000;
const faultyCharacters = 65_536;
/** What is read at once, and waits for the disk together. */
const batch = 256;
const blockMs = 2_000;
/** Another consumer that has held an entry for this long is taken for dead. */
const claimAfterMs = 60_000;
const claimEveryMs = 30_000;
const retryMs = 1_000;

interface State {
  busy: boolean;
  faulty: number;
  /** Waiting in a blocking read, with nothing in hand. */
  blocked: boolean;
  /** What is being written, if anything is. Never rejects. */
  writing: Promise<unknown>;
  waiting: (() => void)[];
}

type RawEntry = [id: string, fields: string[] | null];

export function startStreamReader(options: StreamReaderOptions): StreamReader {
  const rest = createRest();
  const state: State = { busy: true, faulty: 0, blocked: false, writing: Promise.resolve(), waiting: [] };
  const running = loop(options, rest, state);
  return {
    get busy() {
      return state.busy;
    },
    get faulty() {
      return state.faulty;
    },
    quiet: () => new Promise((resolve) => state.waiting.push(resolve)),
    async stop() {
      rest.stop();
      const { redis } = options;
      // Ends a blocking read at once, and the wait for a server that is gone; what it might have brought stays pending.
      const ended = new Promise<void>((resolve) => {
        const leave = () => {
          if (redis.status === "end" || redis.status === "reconnecting") resolve(); // between two attempts there is no connection whose end would be told
          redis.disconnect();
        };
        redis.once("end", resolve);
        if (state.blocked || redis.status !== "ready") leave();
        else redis.once("close", leave);
      });
      // ioredis never settles a command that it wanted to send again when the connection ended: the loop may stand there for ever, with nothing in hand.
      await Promise.race([running, ended.then(() => state.writing)]);
      redis.disconnect();
    },
  };
}

async function loop(options: StreamReaderOptions, rest: Rest, state: State): Promise<void> {
  const { redis, log, consumer, onQuiet } = options;
  let ready = false;
  let claimedAt = 0;
  let idle = false;
  /** Own entries that were handed out before this process began; then only new ones. */
  let from = "0";
  let waiting: (() => void)[] = [];
  /** New entries that are being dealt with: never more than two batches. */
  let inHand: Promise<void> = Promise.resolve();
  while (!rest.stopped) {
    try {
      if (!ready) await createGroup(redis);
      ready = true;
      if (Date.now() - claimedAt >= claimEveryMs) {
        claimedAt = Date.now();
        await inHand;
        await claim(options, state);
      }
      state.blocked = from === ">" && idle;
      waiting = state.waiting.splice(0);
      const entries = await read(redis, consumer, from, state.blocked);
      state.blocked = false;
      if (rest.stopped) return void (await inHand); // what was read stays pending, and is the first that the next process reads
      if (entries.length === 0) await inHand;
      if (entries.length > 0 || from !== ">") state.waiting.push(...waiting);
      else for (const tell of waiting) tell();
      waiting = [];
      if (entries.length > 0) {
        state.busy = true;
        idle = false;
        const before = inHand;
        inHand = handle(options, state, entries);
        inHand.catch(() => undefined); // waited for below, after what was before it
        await before;
        if (from !== ">") await inHand; // the next read would bring the same again
      } else if (from !== ">") from = ">";
      else {
        state.busy = false;
        if (!idle) await onQuiet();
        idle = true;
      }
    } catch (error) {
      await inHand.catch(() => undefined);
      inHand = Promise.resolve();
      if (rest.stopped) return;
      // After a restart of an empty Redis the group is gone; after a failed write what was read is still pending, under this consumer's name.
      ready = false;
      from = "0";
      state.waiting.push(...waiting.splice(0));
      log.warn({ reason: messageOf(error) }, "reading the stream failed; it goes on from what was not acknowledged");
      await rest.pause(retryMs);
    }
  }
  await inHand.catch(() => undefined);
}

async function createGroup(redis: Redis): Promise<void> {
  try {
    await redis.xgroup("CREATE", key, group, "0", "MKSTREAM");
  } catch (error) {
    if (!messageOf(error).startsWith("BUSYGROUP")) throw error;
  }
}

/** @param wait whether to wait for new entries; the first read after others doesn't, so that quiet is noticed at once */
async function read(redis: Redis, consumer: string, from: string, wait: boolean): Promise<RawEntry[]> {
  const reply = wait
    ? await redis.xreadgroup("GROUP", group, consumer, "COUNT", batch, "BLOCK", blockMs, "STREAMS", key, from)
    : await redis.xreadgroup("GROUP", group, consumer, "COUNT", batch, "STREAMS", key, from);
  const [stream] = (reply ?? []) as [string, RawEntry[]][];
  return stream?.[1] ?? [];
}

/** What other consumers left: read, and their names removed once they hold nothing and have been away for a day. */
async function claim(options: StreamReaderOptions, state: State): Promise<void> {
  const { redis, consumer } = options;
  let cursor = "0-0";
  do {
    const [next, entries] = (await redis.xautoclaim(key, group, consumer, claimAfterMs, cursor, "COUNT", batch)) as [string, RawEntry[]];
    cursor = next;
    if (entries.length > 0) await handle(options, state, entries);
  } while (cursor !== "0-0");
  for (const other of (await redis.xinfo("CONSUMERS", key, group)) as unknown[][]) {
    const facts = new Map(pairs(other));
    const name = facts.get("name");
    if (typeof name === "string" && name !== consumer && facts.get("pending") === 0 && Number(facts.get("idle")) > 86_400_000) await redis.xgroup("DELCONSUMER", key, group, name);
  }
}

async function handle({ redis, intake, metrics, log, safeText }: StreamReaderOptions, state: State, entries: readonly RawEntry[]): Promise<void> {
  const conversations: Conversation[] = [];
  const done = redis.multi();
  for (const [id, fields] of entries) {
    // Pending, but gone from the stream: there is nothing left to read.
    if (fields !== null) {
      const parsed = parseEntry("conversations", [id, fields]);
      if ("payload" in parsed) conversations.push(parsed.payload);
      else {
        state.faulty++;
        metrics.collectorEvents.inc({ reader: "stream", outcome: "faulty" });
        log.warn({ entry: id, reason: parsed.fault, movedTo: faultyKey }, "an entry of the stream is no conversation; it is moved aside");
        done.xadd(faultyKey, "MAXLEN", "~", faultyKept, "*", "entry", id, ...fields.map((field) => safeText(field.slice(0, faultyCharacters))));
      }
    }
  }
  const ids = entries.map(([id]) => id);
  done.xack(key, group, ...ids).xdel(key, ...ids);
  if (conversations.length > 0) {
    const writing = intake.collect("stream", conversations);
    state.writing = Promise.allSettled([state.writing, writing]).then(() => undefined);
    await writing;
  }
  const replies = await done.exec();
  const failed = replies?.find(([error]) => error !== null)?.[0];
  if (failed instanceof Error) throw failed;
}

function pairs(flat: readonly unknown[]): [unknown, unknown][] {
  const found: [unknown, unknown][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) found.push([flat[at], flat[at + 1]]);
  return found;
}
