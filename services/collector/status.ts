/** GET /status: what became of the conversations, by domain. Counts and names only. */
import { Router } from "express";
import type { Domain } from "../../shared/domains/domains.ts";
import { handler } from "../../shared/http/app.ts";
import type { Scanner, ScanReport } from "./readers/scanner.ts";
import type { StreamReader } from "./readers/stream.ts";
import type { Store } from "./store/store.ts";
import { Tally } from "./store/tally.ts";
import type { Threshold } from "./threshold/threshold.ts";
import type { Trigger } from "./threshold/trigger_file.ts";

export interface DomainStatus {
  readonly domain: string;
  /** Conversations that came: rows and drops of all time. */
  readonly found: number;
  /** `total` is of all time; the others are in the window, as training sees them. */
  readonly rows: { readonly total: number; readonly inWindow: number; readonly train: number; readonly heldOut: number };
  /** Rows in the window that start the first training. */
  readonly needed: number;
  readonly dropped: Readonly<Record<string, number>>;
  /** Personal data replaced, by kind. */
  readonly anonymised: Readonly<Record<string, number>>;
  readonly lastTrigger: Trigger | null;
}

export interface CollectorStatus {
  readonly domains: readonly DomainStatus[];
  readonly stream: { readonly idle: boolean; readonly faulty: number };
  readonly scanner: { readonly scanning: boolean; readonly lastScan: ScanReport | null };
}

export interface StatusParts {
  readonly domains: readonly Domain[];
  readonly store: Store;
  readonly threshold: Threshold;
  readonly stream: () => StreamReader | undefined;
  readonly scanner: () => Scanner | undefined;
}

function statusOf({ domains, store, threshold, stream, scanner }: StatusParts): CollectorStatus {
  return {
    domains: domains.map((domain) => {
      const tally = store.tallies.get(domain.name) ?? new Tally();
      const { rows, train, heldOut, needed } = threshold.countsOf(domain);
      const dropped = Object.fromEntries(tally.dropped);
      return {
        domain: domain.name,
        found: tally.counts.rows + Object.values(dropped).reduce((sum, count) => sum + count, 0),
        rows: { total: tally.counts.rows, inWindow: rows, train, heldOut },
        needed,
        dropped,
        anonymised: Object.fromEntries(tally.anonymised),
        lastTrigger: threshold.last.get(domain.name) ?? null,
      };
    }),
    stream: { idle: !(stream()?.busy ?? true), faulty: stream()?.faulty ?? 0 },
    scanner: { scanning: scanner()?.scanning ?? true, lastScan: scanner()?.last ?? null },
  };
}

export function statusRouter(parts: StatusParts): Router {
  const router = Router();
  router.get(
    "/status",
    handler(async (_request, response) => {
      response.json(statusOf(parts));
    }),
  );
  return router;
}
