import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { projectRoot } from "../../shared/config/settings.ts";
import { appendRows } from "../../shared/datasets/rows.ts";
import type { Row } from "../../shared/datasets/row.ts";
import { loadSamples } from "../../shared/datasets/samples.ts";
import { classifierPath, readClassifier, setClassifier, writeClassifier } from "../../shared/domains/classifier_file.ts";
import { classify } from "../../shared/domains/classify.ts";
import { loadDomains, requireDomain } from "../../shared/domains/domains.ts";
import { knowsWord, predict, trainNaiveBayes, type Example, type NaiveBayes } from "../../shared/domains/naive_bayes.ts";
import { trainerOfRows } from "../../shared/domains/retrain.ts";
import { suggestKeywords } from "../../shared/domains/suggest.ts";
import { textOf } from "../../shared/events/conversation.ts";
import { shuffled } from "../support/shuffled.ts";

let folder = "";
const samples = (await loadSamples(join(projectRoot, "shared", "datasets", "samples"))).filter(({ kind }) => kind !== "junk");
const examples: Example[] = shuffled(samples.map(({ domain, messages }) => ({ domain, text: messages.map(textOf).join("\n") })));
before(async () => void (folder = await mkdtemp(join(tmpdir(), "everlora-domains-"))));
after(() => rm(folder, { recursive: true, force: true }));
const trained = (rows: readonly Example[]): NaiveBayes => trainNaiveBayes(rows) ?? assert.fail("no model");

describe("the classifier of domains", () => {
  it("learns from sorted rows: four fifths of the samples sort the rest, with probabilities that mean something", () => {
    const test = examples.filter((_, at) => at % 5 === 0);
    const model = trained(examples.filter((_, at) => at % 5 !== 0));
    const results = test.map(({ text, domain }) => ({ ...predict(model, text), truth: domain }));
    const right = (rows: typeof results) => rows.filter(({ domain, truth }) => domain === truth).length / rows.length;
    assert.ok(right(results) >= 0.8, `${right(results)}`);
    const sure = results.filter(({ probability }) => probability >= model.threshold);
    assert.ok(sure.length >= test.length / 2 && right(sure) >= 0.85, `${sure.length} sure, ${right(sure)} right`);
    const said = results.reduce((sum, { probability }) => sum + probability, 0) / results.length;
    assert.ok(Math.abs(said - right(results)) < 0.12, `says ${said}, is right ${right(results)}`);
  });

  it("needs two domains with enough rows, and leaves a domain with too few out", () => {
    assert.equal(trainNaiveBayes([]), null);
    assert.equal(trainNaiveBayes(Array.from({ length: 50 }, () => ({ text: "a b c", domain: "x" }))), null);
    const few = [...Array.from({ length: 30 }, (_, at) => ({ text: `cat dog ${at}`, domain: "x" })), ...Array.from({ length: 30 }, (_, at) => ({ text: `car bus ${at}`, domain: "y" })), { text: "moon", domain: "z" }];
    assert.deepEqual(trained(shuffled(few)).classes, ["x", "y"]);
  });

  it("decides where keywords doubt, and only there", () => {
    const table = loadDomains();
    const odd = "the frobnicator wobbles and the gizmo is bent";
    const plain = "Can my landlord evict me without a court ruling?";
    assert.equal(classify(odd, table).abstained, true);
    setClassifier(table, trained(shuffled([...Array.from({ length: 40 }, (_, at) => ({ text: `frobnicator gizmo wobbles ${at}`, domain: "technical" })), ...Array.from({ length: 40 }, (_, at) => ({ text: `landlord court evict refund ${at}`, domain: "support" }))])));
    const { domain, abstained, probability = 0 } = classify(odd, table);
    assert.deepEqual([domain, abstained], ["technical", false]);
    assert.ok(probability > 0.5);
    assert.equal(classify(plain, table).domain, "legal", "keywords are sure");
    assert.equal(classify("completely different words here", table).abstained, true, "and so the classifier abstains, too");
    setClassifier(table, { ...trained(examples), classes: ["no-such-domain", "b", "c", "d", "e"] });
    assert.ok(table.some(({ name }) => name === classify(odd, table).domain), "a domain that is gone is not answered");
  });

  it("is a file: read as it was written, and ignored when damaged", async () => {
    const model = trained(examples);
    const path = join(folder, "model", "classifier.json");
    await mkdir(join(folder, "model"));
    await writeClassifier(path, model);
    const read = readClassifier(path) ?? assert.fail("unreadable");
    for (const { text } of examples.slice(0, 20)) assert.deepEqual(predict(read, text), predict(model, text));
    const text = await readFile(path, "utf8");
    for (const damaged of ["", "{", text.slice(0, -40), text.replace("priors", "prioRs"), '{"version":2}']) {
      await writeFile(path, damaged);
      assert.equal(readClassifier(path), null);
    }
    assert.equal(readClassifier(join(folder, "nowhere")), null);
  });

  it("is trained on rows that keywords are sure of, and found by a table of the same data folder", async () => {
    const data = join(folder, "data");
    const training = join(data, "training_data");
    const table = loadDomains();
    const rows = samples.map(({ id, messages }, at): Row => ({ version: 1, id: at.toString(16).padStart(32, "0"), conversation: id, domain: classify(messages.map(textOf).join("\n"), table).domain, language: "unknown", messages, split: "train", cluster: id, source: "upstream", model: "m", generation: null, caller: "", createdAt: at, collectedAt: at, anonymised: {} }));
    // A row in the wrong folder teaches nothing.
    const wrong: Row = { ...(rows[0] ?? assert.fail()), id: "f".repeat(32), domain: "medical", messages: [{ role: "user", content: "zzzwrong landlord lawyer court contract" }, { role: "assistant", content: "lawyer" }] };
    for (const { name } of table) await appendRows(training, name, [...rows.filter(({ domain }) => domain === name), ...(name === "medical" ? [wrong] : [])]);
    await mkdir(join(data, ".everlora"), { recursive: true });
    const before = loadDomains(data);
    const model = (await trainerOfRows(training, before)).model();
    assert.ok(model !== null && model.classes.length >= 4 && !knowsWord(model, "zzzwrong"));
    await writeClassifier(classifierPath(data), model);
    assert.deepEqual(readClassifier(classifierPath(data))?.classes, model.classes);
    const question = samples.map(({ messages }) => textOf(messages[0] ?? { role: "user" })).find((text) => classify(text, loadDomains(data)).probability !== undefined);
    assert.ok(question !== undefined, "a fresh table of that folder asks it");
    const suggestions = await suggestKeywords(training, requireDomain("medical", before), before, 10);
    assert.ok(suggestions.length > 0 && suggestions.every(({ z, word }) => z > 3 && word.length >= 4), JSON.stringify(suggestions));
  });
});
