/**
 * Looks through the cache for what the stream missed: at the start and every COLLECT_INTERVAL. Reads only: no TTL changes, no entry is removed, and entries
 * that are no conversations are counted, named once in the log, and left alone.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { Intake } from "../intake.ts";
import type { CacheSource, Entry } from "../sources/source.ts";
import { createRest } from "./rest.ts";

export interface ScannerOptions {
  readonly redis: Redis;
  readonly sources: readonly CacheSource[];
  readonly intake: Intake;
  readonly metrics: Metrics<"collector">;
  readonly log: Logger;
  readonly intervalMs: number;
  /** Keys are other people's words; this makes them fit for a log. */
  readonly safeKey: (key: string) => string;
  /** After each scan that found nothing more to find. */
  readonly onQuiet: () => Promise<void>;
}

export interface ScanReport {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly entries: number;
  /** Entries that are no conversations. */
  readonly faulty: number;
  readonly layouts: Readonly<Record<string, LayoutCounts>>;
}

/** Entries of one program's layout, by what can be done with them. */
export type LayoutCounts = Record<"usable" | "no_prompt" | "unparsable", number>;

export interface Scanner {
  readonly scanning: boolean;
  readonly last: ScanReport | null;
  /** Resolves when a scan that began after this call has ended. */
  scanNow(): Promise<ScanReport>;
  stop(): Promise<void>;
}

/** Keys asked for at once. */
const keysAtOnce = 500;
/** Faulty entries that are remembered and named; a cache that is full of them is one complaint, not a million. */
const mostNamed = 10_000;
/** While a scan finds something new, another follows after this pause: whoever fills the cache may not be done. */
const settleMs = 250;
const mostRescans = 20;

export function startScanner(options: ScannerOptions): Scanner {
  const { metrics, log, intervalMs, onQuiet } = options;
  const rest = createRest();
  const named = new Set<string>();
  let scanning = true;
  let last: ScanReport | null = null;

  let began = 0;
  let waiting: { readonly after: number; readonly tell: (report: ScanReport) => void }[] = [];

  const once = async (): Promise<boolean> => {
    began++;
    const { report, found } = await scan(options, named);
    last = report;
    const served = waiting.filter(({ after }) => began > after);
    waiting = waiting.filter(({ after }) => began <= after);
    for (const { tell } of served) tell(report);
    metrics.collectorScans.inc({ outcome: "done" });
    return found;
  };
  const loop = async (): Promise<void> => {
    while (!rest.stopped) {
      scanning = true;
      try {
        for (let again = 0; (await once()) && again < mostRescans && !rest.stopped; again++) await rest.pause(settleMs);
        scanning = false;
        if (!rest.stopped) await onQuiet();
      } catch (error) {
        metrics.collectorScans.inc({ outcome: "failed" });
        log.warn({ reason: messageOf(error) }, "a scan of the cache failed; the next one will find what it missed");
      }
      scanning = false;
      await rest.pause(waiting.length > 0 ? settleMs : intervalMs); // somebody may have asked while this scan was on
    }
  };
  const running = loop();
  return {
    get scanning() {
      return scanning;
    },
    get last() {
      return last;
    },
    scanNow: () =>
      new Promise((tell) => {
        waiting.push({ after: began, tell });
        rest.wake();
      }),
    async stop() {
      rest.stop();
      await running;
    },
  };
}

async function scan(options: ScannerOptions, named: Set<string>): Promise<{ report: ScanReport; found: boolean }> {
  const { redis, sources, intake } = options;
  const layouts: Record<string, LayoutCounts> = {};
  let entries = 0;
  let found = false;
  const faulty = new Set<string>();
  let cursor = "0";
  do {
    const [next, page] = await redis.scan(cursor, "COUNT", keysAtOnce);
    cursor = next;
    const keys = new Set(page);
    for (const source of sources) {
      const own = [...keys].filter((key) => source.mayBe(key));
      if (own.length === 0) continue;
      for (const key of own) keys.delete(key);
      const read = await source.read(redis, own);
      entries += read.length;
      for (const entry of read) {
        const counts = (layouts[entry.layout] ??= { usable: 0, no_prompt: 0, unparsable: 0 });
        counts["conversation" in entry ? "usable" : "unusable" in entry ? "no_prompt" : "unparsable"]++;
        if ("fault" in entry) {
          faulty.add(entry.key);
          name(entry, options, named);
        }
      }
      const conversations = read.flatMap((entry) => ("conversation" in entry ? [entry.conversation] : []));
      if (conversations.length === 0) continue;
      const { rows, dropped } = await intake.collect("scan", conversations);
      found ||= rows + dropped > 0;
    }
  } while (cursor !== "0");
  // Entries that expired need not be remembered.
  for (const key of named) if (!faulty.has(key)) named.delete(key);
  return { report: { at: Date.now(), entries, faulty: faulty.size, layouts }, found };
}

/** Says once for each entry what is wrong with it. */
function name({ key, layout, fault }: Extract<Entry, { fault: string }>, { metrics, log, safeKey }: ScannerOptions, named: Set<string>): void {
  if (named.has(key) || named.size >= mostNamed) return;
  named.add(key);
  metrics.collectorEvents.inc({ reader: "scan", outcome: "faulty" });
  log.warn({ source: layout, key: safeKey(key), reason: fault }, "a cache entry is no conversation; it is left alone");
}
