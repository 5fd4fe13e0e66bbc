/**
 * Where the readers hand over what they read: one batch after the other through the pipeline, and one after the other onto disk, so that the next is worked
 * on while the disk is waited for. When `collect` resolves, everything in the batch is a row, a counted drop, or was known before, and is on disk; only then may
 * a reader acknowledge it.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import { fallbackDomain } from "../../shared/domains/domains.ts";
import type { Conversation } from "../../shared/events/conversation.ts";
import type { Metrics } from "../../shared/metrics/metrics.ts";
import { emptyOutcome, type Outcome } from "../../shared/datasets/commands.ts";
import type { Drop } from "../../shared/datasets/drops.ts";
import type { Row } from "../../shared/datasets/row.ts";
import type { Lesson } from "../../shared/domains/naive_bayes.ts";
import { conversationKey, processConversation, type Outcome as Processed, type PipelineParts } from "./pipeline/pipeline.ts";
import type { Store } from "./store/store.ts";

export type Reader = "stream" | "scan" | "import";

export interface Intake {
  /** @throws when it can't be written; nothing of the batch is counted then, and all of it may be handed over again */
  collect(reader: Reader, conversations: readonly Conversation[]): Promise<Outcome>;
  /** Other work on the store, with no batch under way, on disk neither. */
  alone<T>(job: () => Promise<T>): Promise<T>;
}

/** How many conversations are worked on before others get the thread. */
const inOneTurn = 4;

export interface IntakeParts extends PipelineParts {
  /** Told what the rows of a batch teach the classifier of domains, once they are on disk. @param collectedAt of the rows */
  readonly learn?: (lessons: readonly Lesson[], collectedAt: number) => void;
}

/** @param metrics null where nobody will ask for them */
export function createIntake(store: Store, parts: IntakeParts, metrics: Metrics<"collector"> | null, log: Logger): Intake {
  let queue: Promise<unknown> = Promise.resolve();
  // A clock that was set back must not make new rows look old.
  let lastTime = 0;
  for (const { lastCollected } of store.tallies.values()) lastTime = Math.max(lastTime, lastCollected);

  /** One conversation that trips over a defect of ours must not hold up all that come after it. */
  const process = (conversation: Conversation, key: string, now: number): Processed => {
    try {
      return processConversation(conversation, store.duplicates, { ...parts, sides: store.sides }, now, key);
    } catch (error) {
      // Neither message nor texts: a message may quote what was said.
      log.error({ conversation: key, error: error instanceof Error ? error.name : typeof error, at: whereOf(error) }, "a conversation could not be processed; it is dropped");
      return { kind: "drop", domain: fallbackDomain, reason: "internal_error", conversation: key };
    }
  };

  /** @returns what the batch became, and the end of its writing: that is told apart, because the next batch does not wait for it */
  const work = async (reader: Reader, conversations: readonly Conversation[]): Promise<{ written: Promise<Outcome> }> => {
    await store.settle();
    await store.save("now and then");
    // Later than every batch before it, so that "rows since then" is never ambiguous.
    const now = Math.max(Date.now(), lastTime + 1);
    lastTime = now;
    const rows: Row[] = [];
    const drops: (Drop & { domain: string })[] = [];
    const lessons: Lesson[] = [];
    const inBatch = new Set<string>();
    let known = 0;
    for (const [at, conversation] of conversations.entries()) {
      if (at % inOneTurn === inOneTurn - 1) await nextTurn();
      const key = conversationKey(conversation.id);
      if (inBatch.has(key) || !isNews(conversation, store.known(key))) {
        known++;
        continue;
      }
      inBatch.add(key);
      const outcome = process(conversation, key, now);
      if (outcome.kind === "drop") drops.push({ domain: outcome.domain, conversation: key, reason: outcome.reason, at: now });
      else {
        store.duplicates.add(outcome.row);
        store.sides.add(outcome.row);
        rows.push(outcome.row);
        if (outcome.lesson !== null) lessons.push({ features: outcome.lesson, domain: outcome.row.domain });
      }
    }
    // What was known already may still be on its way to the disk, so a batch that brings nothing waits, too.
    const written = store.write({ rows, drops }).then(() => {
      parts.learn?.(lessons, now);
      const outcome = outcomeOf(rows, drops, known);
      if (metrics !== null) count(metrics, reader, outcome, rows);
      return outcome;
    });
    written.catch(() => undefined); // told to whoever waits for it, a turn later
    return { written };
  };

  const inTurn = <T>(job: () => Promise<T>): Promise<T> => {
    const turn = queue.then(job);
    queue = turn.catch(() => undefined); // the next batch has nothing to do with this one's failure, which its own reader gets
    return turn;
  };
  return {
    collect: async (reader, conversations) => (await inTurn(() => work(reader, conversations))).written,
    alone: (job) =>
      inTurn(async () => {
        await store.written();
        return job();
      }),
  };
}

/** The first place in our own code of an error's stack. */
function whereOf(error: unknown): string | undefined {
  return error instanceof Error ? /[^\s(]*\/(?:services|shared)\/[^\s)]+/.exec(error.stack ?? "")?.[0] : undefined;
}

/** What was dropped for want of a teacher is news again when a person has approved it. */
function isNews(conversation: Conversation, known: string | undefined): boolean {
  return known === undefined || (known === "not_a_teacher" && conversation.feedback === "approved");
}

function outcomeOf(rows: readonly Row[], drops: readonly Drop[], known: number): Outcome {
  const outcome: Outcome = { ...emptyOutcome(), rows: rows.length, dropped: drops.length, known };
  const add = (counts: Record<string, number>, key: string, times = 1) => void (counts[key] = (counts[key] ?? 0) + times);
  for (const { reason } of drops) add(outcome.reasons, reason);
  for (const { domain, anonymised } of rows) {
    add(outcome.domains, domain);
    for (const [kind, times] of Object.entries(anonymised)) add(outcome.anonymised, kind, times);
  }
  return outcome;
}

function count(metrics: Metrics<"collector">, reader: Reader, { rows: taken, dropped, known, reasons, anonymised }: Outcome, rows: readonly Row[]): void {
  metrics.collectorEvents.inc({ reader, outcome: "row" }, taken);
  metrics.collectorEvents.inc({ reader, outcome: "dropped" }, dropped);
  metrics.collectorEvents.inc({ reader, outcome: "known" }, known);
  if (taken + dropped > 0) metrics.collectorLastEvent.setToCurrentTime();
  for (const [reason, times] of Object.entries(reasons)) metrics.collectorDrops.inc({ reason }, times);
  for (const [kind, times] of Object.entries(anonymised)) metrics.collectorAnonymised.inc({ kind }, times);
  const sides = new Map<string, { domain: string; split: Row["split"]; times: number }>();
  for (const { domain, split } of rows) {
    const side = sides.get(`${split} ${domain}`);
    if (side === undefined) sides.set(`${split} ${domain}`, { domain, split, times: 1 });
    else side.times++;
  }
  for (const { domain, split, times } of sides.values()) metrics.datasetRows.inc({ domain, split }, times);
}
