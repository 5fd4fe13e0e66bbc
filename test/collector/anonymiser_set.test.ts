/** The labelled set's bars: on the half that no recogniser was tuned on. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createAnonymiser } from "../../shared/anonymise/anonymiser.ts";
import { labelledSet } from "../bench/anonymise/labelled_set.ts";
import { figures, score, sumOf } from "../bench/anonymise/score.ts";

const anonymiser = createAnonymiser();

describe("the labelled set of personal data", () => {
  it("has 1,500 entities of 25 kinds, in two halves that share no sentence", () => {
    const sets = [labelledSet("tuning"), labelledSet("held_out")];
    const labels = sets.flatMap((set) => set.flatMap((one) => one.labels));
    assert.ok(labels.length >= 1_500, `${labels.length}`);
    assert.ok(new Set(labels.map(({ kind }) => kind)).size >= 25);
    for (const set of sets) {
      assert.ok(set.filter((one) => one.labels.length === 0).length >= 25, "sentences with nothing personal");
      for (const { text, labels: own } of set) for (const { start, end } of own) assert.ok(end > start && end <= text.length);
    }
  });

  it("is found: structured kinds with recall ≥ 0.99 and F1 ≥ 0.98, names with F1 ≥ 0.9, on the held-out half", (test) => {
    const result = score(labelledSet("held_out"), (text) => anonymiser.find(text));
    const structured = figures(sumOf(result, (kind) => kind !== "NOME"));
    const names = figures(sumOf(result, (kind) => kind === "NOME"));
    test.diagnostic(JSON.stringify({ structured, names, hidden: result.hidden / result.labels }));
    assert.ok(structured.recall >= 0.99 && structured.f1 >= 0.98, JSON.stringify(structured));
    assert.ok(names.f1 >= 0.9, JSON.stringify(names));
  });

  it("would notice a recogniser that is missing", () => {
    const blind = createAnonymiser([]);
    assert.equal(figures(sumOf(score(labelledSet("held_out"), (text) => blind.find(text)), (kind) => kind !== "NOME")).recall, 0);
  });
});
