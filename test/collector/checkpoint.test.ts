/** The store's index beside the data: a start with it decides as one without it, and it is left out where it may not be right. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { appendFile, mkdir, open, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { createAnonymiser } from "../../shared/anonymise/anonymiser.ts";
import type { Row } from "../../shared/datasets/row.ts";
import { rowsPath } from "../../shared/datasets/rows.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { textOf, type Conversation } from "../../shared/events/conversation.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { contentId, createDuplicates } from "../../services/collector/deduplicate/duplicates.ts";
import { createIntake } from "../../services/collector/intake.ts";
import { ArchiveReader, ArchiveWriter } from "../../services/collector/store/archive.ts";
import { checkpointFile, removeCheckpoint } from "../../services/collector/store/checkpoint.ts";
import { openStore, type Store } from "../../services/collector/store/store.ts";
import { aboutLaw, newFolder, say } from "./support.ts";

const domains = loadDomains();
const names = domains.map(({ name }) => name);
const parts = { anonymiser: createAnonymiser(), domains, heldOutShare: 0.15, days: 30 };
const killed = fileURLToPath(new URL("support/killed_save.ts", import.meta.url));

const words = "lease tenant contract clause deposit notice court appeal statute liability landlord damages hearing judge filing deadline evidence witness property dispute".split(" ");
/** The n-th text: 30 words in an order of its own, so that no two are near-duplicates. */
const text = (number: number) => Array.from({ length: 30 }, (_, at) => `${words[(number * 7 + at * (1 + (number % 19)) + Math.floor(number / 19)) % words.length] ?? ""}${(number * 31 + at * 17) % 97}`).join(" ");
function rowOf(number: number): Row {
  const messages: Row["messages"] = [{ role: "user", content: `Question ${number}: ${text(number)}?` }, { role: "assistant", content: `${text(number + 50_000)}.` }];
  const id = contentId(messages);
  return { version: 1, id, conversation: `old-${number}`, domain: "legal", language: "en", messages, split: number % 5 === 0 ? "held-out" : "train", cluster: id, source: "upstream", model: "m", generation: null, caller: "", createdAt: Date.now() - 1_000, collectedAt: Date.now() - 900, anonymised: { CPF: number % 2 } };
}
/** What was there before, once more, a little changed, and new. */
const asked = (): Conversation[] => [
  ...Array.from({ length: 40 }, (_, number) => ({ ...aboutLaw(number), id: `old-${number * 20}` })),
  ...Array.from({ length: 40 }, (_, number) => {
    const [question = "", answer = ""] = rowOf(number * 29).messages.map(textOf);
    return say(`again-${number}`, question, number % 2 === 0 ? answer : `${answer} Indeed.`);
  }),
  ...Array.from({ length: 20 }, (_, number) => aboutLaw(number)),
  say("junk", "Is this lease clause legal, dear lawyer?", ""),
];

/** What a start from this folder would make of them, and how it read the folder. */
async function verdicts(trainingData: string): Promise<{ outcome: object; read: string[] }> {
  const read: string[] = [];
  const store = await openStore(trainingData, names, pino({ level: "info" }, { write: (line: string) => void read.push(line) }), true);
  try {
    const intake = createIntake(store, parts, createMetrics("collector"), silentLogger);
    const before = [...store.tallies].map(([name, tally]) => [name, tally.counts, tally.lastCollected, Object.fromEntries(tally.dropped), Object.fromEntries(tally.anonymised)]);
    const window = { from: Date.now() - 86_400_000, to: Date.now() };
    const threshold = [...store.tallies].map(([name, tally]) => [name, tally.inWindow(window), tally.newSince(0, window)]);
    return { outcome: { before, threshold, after: await intake.collect("stream", asked()) }, read };
  } finally {
    store.close();
  }
}

describe("the store's index", () => {
  let folder: Awaited<ReturnType<typeof newFolder>>;
  let trainingData = "";
  let index = "";
  let withoutIndex: object = {};
  const save = async (): Promise<void> => {
    const store = await openStore(trainingData, names, silentLogger);
    await store.save("at the end");
    store.close();
  };
  /** As it is without any index. */
  const expected = async (): Promise<object> => {
    await removeCheckpoint(trainingData);
    const { outcome, read } = await verdicts(trainingData);
    assert.deepEqual(read.filter((line) => line.includes("index")), []);
    return outcome;
  };
  before(async () => {
    folder = await newFolder();
    trainingData = join(folder.path, "training_data");
    index = join(trainingData, checkpointFile);
    await mkdir(join(trainingData, "legal"), { recursive: true });
    await writeFile(rowsPath(trainingData, "legal"), Array.from({ length: 1_200 }, (_, number) => `${JSON.stringify(rowOf(number))}\n`).join(""));
    const drop = (number: number) => `${JSON.stringify({ conversation: number.toString(16).padStart(32, "0"), reason: "refusal", at: Date.now() })}\n`;
    await writeFile(join(trainingData, "legal", "drops.jsonl"), Array.from({ length: 50 }, (_, number) => drop(number)).join(""));
    withoutIndex = await expected();
  });
  after(() => folder.remove());

  it("decides as the rows do, and is what a start reads", async () => {
    const path = rowsPath(trainingData, "legal");
    const time = 1_700_000_000;
    await utimes(path, time, time);
    await save();
    assert.deepEqual(await verdicts(trainingData), { outcome: withoutIndex, read: [] });
    // A line that is damaged in place, with the file's time put back, can't be read any more: only the index knows of it.
    const whole = await readFile(path);
    const damage = async (bytes: string) => {
      const file = await open(path, "r+");
      await file.write(bytes, 0);
      await file.close();
    };
    const rowsKnown = async () => {
      const store = await openStore(trainingData, names, silentLogger, true);
      store.close();
      return store.tallies.get("legal")?.counts.rows;
    };
    await damage("not a row");
    await utimes(path, time, time);
    assert.equal(await rowsKnown(), 1_200);
    await utimes(path, time, time + 1);
    assert.equal(await rowsKnown(), 1_199, "changed since: the file is read");
    await damage(whole.toString("utf8", 0, 9));
    await removeCheckpoint(trainingData);
  });

  it("and the rows and drops that came after it, also behind a line that a crash tore", async () => {
    await save();
    const path = rowsPath(trainingData, "legal");
    await appendFile(path, `${JSON.stringify(rowOf(1_200))}\n${JSON.stringify(rowOf(1_201)).slice(0, 300)}`);
    const read = await verdicts(trainingData);
    assert.equal(read.read.length, 1);
    assert.match(read.read[0] ?? "", /"torn":true/);
    const store = await openStore(trainingData, names, silentLogger);
    const intake = createIntake(store, parts, createMetrics("collector"), silentLogger);
    assert.deepEqual(await intake.collect("stream", [aboutLaw(90), say("late junk", "Is this lease clause legal, dear lawyer?", "")]).then(({ rows, dropped }) => ({ rows, dropped })), { rows: 1, dropped: 1 });
    store.close();
    const { outcome } = await verdicts(trainingData);
    await removeCheckpoint(trainingData);
    assert.deepEqual(outcome, (await verdicts(trainingData)).outcome);
    withoutIndex = outcome;
  });

  it("is left out and said to be when it is cut off, damaged, empty or somebody else's", async () => {
    await save();
    const good = await readFile(index);
    const damaged = (at: number) => {
      const bytes = Buffer.from(good);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes;
    };
    const bad = [good.subarray(0, good.length / 2), good.subarray(0, -1), damaged(20), damaged(good.length - 1), Buffer.alloc(0), Buffer.from("no index at all, but a text that is long enough to hold a checksum")];
    for (const bytes of bad) {
      await writeFile(index, bytes);
      const { outcome, read } = await verdicts(trainingData);
      assert.deepEqual(outcome, withoutIndex);
      assert.equal(read.filter((line) => line.includes("index is not used")).length, 1);
    }
  });

  it("is left out when the rows were written anew, cut off or gone", async () => {
    const path = rowsPath(trainingData, "legal");
    const whole = await readFile(path);
    const lines = whole.toString().split("\n");
    for (const change of [() => rm(path), () => writeFile(path, whole.subarray(0, whole.length - 500)), () => writeFile(path, [...lines.slice(0, -4), "x".repeat(700), ...lines.slice(-3)].join("\n")), () => writeFile(`${path}.new`, whole).then(() => rm(path)).then(() => writeFile(path, whole))]) {
      await removeCheckpoint(trainingData);
      await writeFile(path, whole);
      await save();
      assert.ok(existsSync(index));
      await change();
      const { outcome, read } = await verdicts(trainingData);
      assert.equal(read.filter((line) => line.includes("index is not used")).length, 1);
      assert.deepEqual(outcome, await expected());
    }
    await rm(`${path}.new`, { force: true });
    await writeFile(path, whole);
  });

  it("is gone when rows are taken out, before they are", async () => {
    await save();
    const store: Store = await openStore(trainingData, names, silentLogger);
    const removed = await store.remove("forgotten", (row) => !existsSync(index) && row.conversation === "old-7", Date.now());
    assert.equal(removed.length, 1);
    store.close();
    assert.deepEqual((await verdicts(trainingData)).outcome, await expected());
  });

  it("is the old one or the new one after a kill at any moment, and no half of one stays", async () => {
    for (const afterMs of [0, 4, 16]) {
      await removeCheckpoint(trainingData);
      const child = fork(killed, [trainingData, String(afterMs)], { execArgv: ["--import", "tsx"], stdio: ["ignore", "ignore", "inherit", "ipc"] });
      assert.deepEqual(await once(child, "exit"), [null, "SIGKILL"]);
      const { outcome, read } = await verdicts(trainingData);
      assert.deepEqual(read, []);
      (await openStore(trainingData, names, silentLogger)).close();
      assert.deepEqual((await readdir(trainingData)).filter((name) => name.includes(".tmp-") || name.startsWith(".index-")), []);
      assert.deepEqual(outcome, await expected());
    }
  });
});

describe("what the index is made of", () => {
  it("gives the search for duplicates back, segments on disk and in memory", async () => {
    const folder = await newFolder();
    try {
      const options = { folder: folder.path };
      const contents = Array.from({ length: 2_500 }, (_, number) => ({ ...rowOf(number), cluster: number % 100 === 0 ? `odd ${number}` : rowOf(number).id }));
      const first = createDuplicates(options, 512);
      for (const content of contents) first.add(content);
      const path = join(folder.path, "archive");
      const file = await open(path, "w");
      const writer = new ArchiveWriter(file);
      await first.save(writer);
      await writer.json({ last: true });
      await writer.end();
      await file.close();
      const reader = await ArchiveReader.open(path);
      assert.ok(reader !== null);
      const second = createDuplicates(options, 512, reader);
      reader.close();
      const near = (number: number) => ({ id: "0".repeat(32), messages: [{ role: "user" as const, content: `Question ${number}: ${text(number)}?` }, { role: "assistant" as const, content: `${text(number + 50_000)} or so.` }] });
      // The same after both have grown beyond another segment.
      for (const grow of [0, 600]) {
        for (let number = 0; number < grow; number++) for (const one of [first, second]) one.add(rowOf(10_000 + number));
        assert.equal(second.size, first.size);
        assert.equal(second.bytes, first.bytes);
        for (let number = 0; number < 3_000; number += 7) {
          assert.deepEqual(second.find(rowOf(number)), first.find(rowOf(number)));
          assert.deepEqual(second.find(near(number)), first.find(near(number)));
          assert.equal(second.find(near(number)) === null, number >= 2_500, `${number}`);
        }
      }
      first.close();
      second.close();
    } finally {
      await folder.remove();
    }
  });
});
