import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { createRetrainer } from "../../services/collector/sorting/retrainer.ts";
import { projectRoot } from "../../shared/config/settings.ts";
import { appendRows } from "../../shared/datasets/rows.ts";
import type { Row } from "../../shared/datasets/row.ts";
import { loadSamples } from "../../shared/datasets/samples.ts";
import { classifierPath, readClassifier } from "../../shared/domains/classifier_file.ts";
import { explainWords } from "../../shared/domains/classify.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { featuresOf } from "../../shared/domains/features.ts";
import { predict, type Lesson } from "../../shared/domains/naive_bayes.ts";
import { spokenWords } from "../../shared/domains/spoken.ts";
import { isSure } from "../../shared/domains/trainer.ts";
import { textOf } from "../../shared/events/conversation.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { newFolder } from "./support.ts";

const domains = loadDomains();
const samples = (await loadSamples(join(projectRoot, "shared", "datasets", "samples"))).filter(({ kind }) => kind === "plain");
const rows = samples.map(({ id, domain, messages }, at): Row => ({ version: 1, id: at.toString(16).padStart(32, "0"), conversation: id, domain, language: "unknown", messages, split: "train", cluster: id, source: "upstream", model: "m", generation: null, caller: "", createdAt: at, collectedAt: at, anonymised: {} }));
const lessonsOf = (some: readonly Row[]): Lesson[] =>
  some.flatMap(({ domain, messages }) => {
    const words = spokenWords(messages);
    return isSure(explainWords(words, domains), domain) ? [{ features: featuresOf(words), domain }] : [];
  });

describe("the classifier of domains, taught row by row", () => {
  it("is the same whether its rows came one by one or are read from the files", async () => {
    const [taught, read] = [await newFolder(), await newFolder()];
    try {
      const counts = { rows: 0, removals: 0 };
      const parts = { domains, rows: () => counts.rows, lastCollected: () => rows.length, removals: () => counts.removals, log: silentLogger };
      const one = createRetrainer({ ...parts, dataDir: taught.path, trainingData: join(taught.path, "nothing") });
      // In the order in which the files have them.
      const ordered = domains.flatMap(({ name }) => rows.filter(({ domain }) => domain === name));
      for (const row of ordered) one.learn(lessonsOf([row]), row.collectedAt);
      counts.rows = rows.length;
      one.look();
      await one.settled();

      for (const { name } of domains) await appendRows(join(read.path, "rows"), name, ordered.filter(({ domain }) => domain === name));
      const other = createRetrainer({ ...parts, dataDir: read.path, trainingData: join(read.path, "rows") });
      other.learn(lessonsOf(rows.slice(0, 10)), rows.length); // on disk already by the time at which it reads
      other.look();
      await other.settled();
      const [a, b] = [readClassifier(classifierPath(taught.path)), readClassifier(classifierPath(read.path))];
      assert.ok(a !== null && b !== null);
      assert.deepEqual([b.rows, b.threshold, b.temperature, b.features.size], [a.rows, a.threshold, a.temperature, a.features.size]);
      for (const { messages } of samples.slice(0, 100)) {
        const text = messages.map(textOf).join("\n");
        assert.deepEqual(predict(b, text), predict(a, text));
      }
    } finally {
      await taught.remove();
      await read.remove();
    }
  });

  it("forgets what was taken out: it reads the files again", async () => {
    const folder = await newFolder();
    try {
      const counts = { rows: 0, removals: 0 };
      const retrainer = createRetrainer({ domains, dataDir: folder.path, trainingData: join(folder.path, "rows"), rows: () => counts.rows, lastCollected: () => rows.length, removals: () => counts.removals, log: silentLogger });
      retrainer.learn(lessonsOf(rows), rows.length);
      const kept = rows.filter(({ domain }) => domain === "legal" || domain === "medical");
      for (const name of ["legal", "medical"]) await appendRows(join(folder.path, "rows"), name, kept.filter(({ domain }) => domain === name));
      counts.rows = rows.length;
      counts.removals = 1;
      retrainer.look();
      await retrainer.settled();
      assert.deepEqual([...(readClassifier(classifierPath(folder.path))?.classes ?? [])].sort(), ["legal", "medical"]);
    } finally {
      await folder.remove();
    }
  });
});
