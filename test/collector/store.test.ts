import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { createAnonymiser } from "../../shared/anonymise/anonymiser.ts";
import { createIntake, type Intake } from "../../services/collector/intake.ts";
import type { PipelineParts } from "../../services/collector/pipeline/pipeline.ts";
import type { Outcome } from "../../shared/datasets/commands.ts";
import { dropsFile, foldDrops, keptDays, readDrops } from "../../shared/datasets/drops.ts";
import { acquireLock } from "../../services/collector/store/lock.ts";
import { openStore, type Store } from "../../services/collector/store/store.ts";
import { rowsPath } from "../../shared/datasets/rows.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { aboutLaw, allRows, newFolder, say } from "./support.ts";

const parts: PipelineParts = { anonymiser: createAnonymiser(), domains: loadDomains(), heldOutShare: 0.15, days: 30 };
const names = parts.domains.map(({ name }) => name);

type Sums = Pick<Outcome, "rows" | "dropped" | "known">;

async function open(trainingData: string, change: Partial<PipelineParts> = {}): Promise<{ store: Store; intake: { collect: (...given: Parameters<Intake["collect"]>) => Promise<Sums> } }> {
  const store = await openStore(trainingData, names, silentLogger);
  const intake = createIntake(store, { ...parts, ...change }, createMetrics("collector"), silentLogger);
  const collect = async (...given: Parameters<Intake["collect"]>): Promise<Sums> => {
    const { rows, dropped, known } = await intake.collect(...given);
    return { rows, dropped, known };
  };
  return { store, intake: { collect } };
}

/** rows and drops of a domain. */
const countsOf = (store: Store, domain = "legal") => {
  const tally = store.tallies.get(domain);
  return { rows: tally?.counts.rows, dropped: Object.fromEntries(tally?.dropped ?? []) };
};

async function inFolder(work: (data: string, trainingData: string) => Promise<void>): Promise<void> {
  const folder = await newFolder();
  try {
    await work(folder.path, join(folder.path, "training_data"));
  } finally {
    await folder.remove();
  }
}

describe("the store", () => {
  it("takes a conversation once, however often it comes, also after a restart", () =>
    inFolder(async (data, trainingData) => {
      const junk = say("junk", "What does the contract clause of my lease say?", "502 Bad Gateway");
      const batch = [aboutLaw(1), aboutLaw(2), junk, aboutLaw(1)];
      const first = await open(trainingData);
      assert.deepEqual(await first.intake.collect("stream", batch), { rows: 2, dropped: 1, known: 1 });
      assert.deepEqual(await first.intake.collect("scan", batch), { rows: 0, dropped: 0, known: 4 });
      const second = await open(trainingData);
      assert.deepEqual(await second.intake.collect("stream", batch), { rows: 0, dropped: 0, known: 4 });
      assert.deepEqual(countsOf(second.store), { rows: 2, dropped: { error_page: 1 } });
      // The same content under another id is a duplicate, once.
      const copy = { ...aboutLaw(1), id: "copy" };
      assert.deepEqual(await second.intake.collect("stream", [copy]), { rows: 0, dropped: 1, known: 0 });
      const third = await open(trainingData);
      assert.deepEqual(await third.intake.collect("stream", [copy]), { rows: 0, dropped: 0, known: 1 });
      assert.deepEqual(countsOf(third.store), { rows: 2, dropped: { error_page: 1, duplicate: 1 } });
      assert.equal((await allRows(data)).length, 2);
    }));

  it("takes a conversation that a person approves after it was dropped for want of a teacher", () =>
    inFolder(async (_data, trainingData) => {
      const own = { ...aboutLaw(1), source: "adapter" as const };
      const { intake } = await open(trainingData);
      assert.deepEqual(await intake.collect("stream", [own]), { rows: 0, dropped: 1, known: 0 });
      assert.deepEqual(await intake.collect("stream", [{ ...own, feedback: "approved" }]), { rows: 1, dropped: 0, known: 0 });
      const { store } = await open(trainingData);
      assert.deepEqual(countsOf(store), { rows: 1, dropped: {} }, "counted once, as a row");
    }));

  it("loses and doubles nothing when a write fails half-way", () =>
    inFolder(async (data, trainingData) => {
      const { store, intake } = await open(trainingData);
      await intake.collect("stream", [aboutLaw(1)]);
      // The folder of one of two domains can't be written: a file stands in its place.
      await writeFile(join(trainingData, "medical"), "");
      const batch = [aboutLaw(2), say("m", "Which dose of ibuprofen helps against fever and headache?", "Ask your doctor or pharmacist; the leaflet names the dose for your age.")];
      await assert.rejects(intake.collect("stream", batch));
      await assert.rejects(intake.collect("stream", batch), "not even what is there can be read");
      await rm(join(trainingData, "medical"));
      assert.deepEqual(await intake.collect("stream", batch), { rows: 1, dropped: 0, known: 1 }, "what reached the disk is known, the rest is not");
      assert.deepEqual([countsOf(store).rows, countsOf(store, "medical").rows], [2, 1]);
      assert.deepEqual((await allRows(data)).map((row) => row.conversation).sort(), ["law-1", "law-2", "m"]);
    }));

  it("collects a conversation again whose line was torn by a crash", () =>
    inFolder(async (_data, trainingData) => {
      const { intake } = await open(trainingData);
      await intake.collect("stream", [aboutLaw(1), aboutLaw(2)]);
      const path = rowsPath(trainingData, "legal");
      const text = await readFile(path, "utf8");
      await writeFile(path, text.slice(0, -100));
      const again = await open(trainingData);
      assert.deepEqual(await again.intake.collect("stream", [aboutLaw(1), aboutLaw(2)]), { rows: 1, dropped: 0, known: 1 });
      const third = await open(trainingData);
      assert.deepEqual(countsOf(third.store).rows, 2);
    }));

  it("goes on when one conversation trips over a defect, and counts it", () =>
    inFolder(async (_data, trainingData) => {
      const broken = { ...parts.anonymiser, conversation: (given: Parameters<typeof parts.anonymiser.conversation>[0]) => {
        if (JSON.stringify(given).includes("otter")) throw new TypeError("a defect");
        return parts.anonymiser.conversation(given);
      } };
      const { store, intake } = await open(trainingData, { anonymiser: broken });
      assert.deepEqual(await intake.collect("stream", [aboutLaw(14), aboutLaw(1)]), { rows: 1, dropped: 1, known: 0 });
      assert.deepEqual(countsOf(store, "general").dropped, { internal_error: 1 });
    }));

  it("folds old drops into sums and keeps the counts", () =>
    inFolder(async (_data, trainingData) => {
      const now = Date.now();
      const old = now - (keptDays + 1) * 86_400_000;
      const line = (number: number, at: number) => `${JSON.stringify({ conversation: number.toString(16).padStart(32, "0"), reason: number % 2 === 0 ? "empty" : "refusal", at })}\n`;
      await mkdir(join(trainingData, "legal"), { recursive: true });
      const path = join(trainingData, "legal", dropsFile);
      await writeFile(path, Array.from({ length: 12_000 }, (_, number) => line(number, old)).join("") + line(12_000, now));
      await appendFile(path, "{torn");
      const folded = await foldDrops(trainingData, "legal", await readDrops(trainingData, "legal"), now);
      assert.deepEqual(folded, { lines: [{ conversation: (12_000).toString(16).padStart(32, "0"), reason: "empty", at: now }], folded: { empty: 6_000, refusal: 6_000 }, faults: 0 });
      assert.deepEqual(await readDrops(trainingData, "legal"), folded);
      const { store } = await open(trainingData);
      assert.deepEqual(countsOf(store).dropped, { empty: 6_001, refusal: 6_000 });
    }));
});

describe("the lock", () => {
  it("lets one collector in, and the next one when it is gone", () =>
    inFolder(async (data) => {
      const path = join(data, ".lock");
      const alive = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
      try {
        await writeFile(path, JSON.stringify({ pid: alive.pid, host: hostname(), token: "x" }));
        await assert.rejects(acquireLock(path), (error: unknown) => error instanceof EverloraError && error.code === "conflict" && error.message.includes(String(alive.pid)));
      } finally {
        alive.kill("SIGKILL");
        await once(alive, "exit");
      }
      const taken = await acquireLock(path); // its owner was killed: at once
      await taken.release();
      await assert.rejects(readFile(path), { code: "ENOENT" });
    }));

  it("waits for a lock of another host: a dead one goes stale, a living one is touched", () =>
    inFolder(async (data) => {
      const path = join(data, ".lock");
      const write = () => writeFile(path, JSON.stringify({ pid: 1, host: "elsewhere", token: "x" }));
      await write();
      await (await acquireLock(path, 300)).release();
      await write();
      const alive = setInterval(() => void utimes(path, new Date(), new Date()), 50);
      await assert.rejects(acquireLock(path, 300), /process 1 on elsewhere/).finally(() => clearInterval(alive));
    }));

  it("takes a damaged one", () =>
    inFolder(async (data) => {
      const path = join(data, ".lock");
      await writeFile(path, "");
      await (await acquireLock(path)).release();
    }));
});
