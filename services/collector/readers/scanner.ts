/**
 * Looks through the cache for what the stream missed: at the start and every COLLECT_INTERVAL. Reads only: no TTL changes, no entry is removed, and entries
 * that are no conversations are counted, named once in the log, and left alone.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import type { Intake } from "../intake.ts";
import type { CacheSource } from "../sources/source.ts";
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
}

export interface Scanner {
  readonly scanning: boolean;
  readonly last: ScanReport | null;
  stop(): Promise<void>;
}

/** Entries asked for at once. */
const page = 200;
/** While a scan finds something new, another follows after this pause: whoever fills the cache may not be done. */
const settleMs = 250;
const mostRescans = 20;

export function startScanner(options: ScannerOptions): Scanner {
  const { metrics, log, intervalMs, onQuiet } = options;
  const rest = createRest();
  const named = new Set<string>();
  let scanning = true;
  let last: ScanReport | null = null;

  const once = async (): Promise<boolean> => {
    const { report, found } = await scan(options, named);
    last = report;
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
      await rest.pause(intervalMs);
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
    async stop() {
      rest.stop();
      await running;
    },
  };
}

async function scan({ redis, sources, intake, metrics, log, safeKey }: ScannerOptions, named: Set<string>): Promise<{ report: ScanReport; found: boolean }> {
  let entries = 0;
  let found = false;
  const faulty = new Set<string>();
  for (const source of sources) {
    let cursor = "0";
    do {
      const [next, keys] = await redis.scan(cursor, "MATCH", source.match, "COUNT", page);
      cursor = next;
      const read = keys.length === 0 ? [] : await source.read(redis, [...new Set(keys)]);
      const conversations = [];
      for (const entry of read) {
        if ("conversation" in entry) conversations.push(entry.conversation);
        else {
          faulty.add(entry.key);
          if (named.has(entry.key)) continue;
          named.add(entry.key);
          metrics.collectorEvents.inc({ reader: "scan", outcome: "faulty" });
          log.warn({ source: source.name, key: safeKey(entry.key), reason: entry.fault }, "a cache entry is no conversation; it is left alone");
        }
      }
      entries += read.length;
      if (conversations.length === 0) continue;
      const { rows, dropped } = await intake.collect("scan", conversations);
      found ||= rows + dropped > 0;
    } while (cursor !== "0");
  }
  // Entries that expired need not be remembered.
  for (const key of named) if (!faulty.has(key)) named.delete(key);
  return { report: { at: Date.now(), entries, faulty: faulty.size }, found };
}
