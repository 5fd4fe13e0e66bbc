import assert from "node:assert/strict";
import { test } from "node:test";
import { gate, pairedDifference, studentT95, type Evaluation } from "../../services/trainer/gate.ts";

const tokens = [10, 20, 30, 40];
const base = [3, 3.2, 2.9, 3.1];

function evaluation(adapter: readonly number[], options: { live?: readonly number[]; general?: number; tokens?: readonly number[]; base?: readonly number[] } = {}): Evaluation {
  const weights = options.tokens ?? tokens;
  const bases = options.base ?? base;
  const mean = (losses: readonly number[]) => losses.reduce((sum, loss, index) => sum + loss * (weights[index] ?? 0), 0) / weights.reduce((sum, weight) => sum + weight, 0);
  return {
    heldOut: {
      base: mean(bases),
      live: options.live === undefined ? null : mean(options.live),
      adapter: mean(adapter),
      rows: weights.length,
      tokens: weights.reduce((sum, weight) => sum + weight, 0),
      perRow: { base: bases, adapter, live: options.live ?? null, tokens: weights },
    },
    general: { base: 3, adapter: options.general ?? 3, rows: 5, tokens: 100 },
  };
}
const lowered = (losses: readonly number[], by: number) => losses.map((loss, index) => loss - by - index / 1000);

test("an adapter that is better on every row goes live, and each rule says so with its numbers", () => {
  const { decision, reasons, heldOut, general } = gate(evaluation(lowered(base, 0.5)), 0.1);
  assert.equal(decision, "publish");
  assert.equal(reasons.length, 2);
  assert.match(reasons[0] ?? "", /^Held-out loss 2\.5480 against 3\.0500 of the base: 0\.5020 better, standard error 0\.0\d+ \(4 rows, 100 tokens\); more than 0\.0\d+ better is needed: passed\.$/);
  assert.match(reasons[1] ?? "", /^General loss 3\.0000 against 3\.0000 of the base: 0\.0000 better \(5 rows, 100 tokens\); at most 0\.1000 worse is allowed: passed\.$/);
  assert.equal(heldOut.live, null);
  assert.equal(general.tolerance, 0.1);
});

test("an adapter that is worse than the base is rejected", () => {
  const { decision, reasons } = gate(evaluation(lowered(base, -0.5)), 0.1);
  assert.equal(decision, "reject");
  assert.match(reasons[0] ?? "", /0\.4980 worse.*: rejected\.$/);
});

test("an adapter that is the base itself is rejected", () => {
  assert.equal(gate(evaluation(base), 0.1).decision, "reject");
});

test("a better mean that chance explains is rejected", () => {
  // One row much better, the others a little worse: the mean is better, but nothing can be concluded.
  const adapter = base.map((loss, index) => (index === 3 ? loss - 0.5 : loss + 0.1));
  const { decision, reasons } = gate(evaluation(adapter), 0.1);
  assert.match(reasons[0] ?? "", /better/);
  assert.equal(decision, "reject");
});

test("better than the base but not than the live adapter is rejected", () => {
  const live = lowered(base, 0.7);
  const { decision, reasons } = gate(evaluation(lowered(base, 0.5), { live }), 0.1);
  assert.equal(decision, "reject");
  assert.equal(reasons.length, 3);
  assert.match(reasons[0] ?? "", /of the base.*passed\.$/);
  assert.match(reasons[1] ?? "", /of the live adapter: 0\.2\d+ worse.*rejected\.$/);
});

test("better than both goes live", () => {
  const live = lowered(base, 0.3);
  assert.equal(gate(evaluation(lowered(live, 0.3), { live }), 0.1).decision, "publish");
});

test("the general set may get worse by the tolerance and no more", () => {
  const better = lowered(base, 0.5);
  assert.equal(gate(evaluation(better, { general: 3.25 }), 0.25).decision, "publish");
  const { decision, reasons } = gate(evaluation(better, { general: 3.2501 }), 0.25);
  assert.equal(decision, "reject");
  assert.match(reasons[1] ?? "", /0\.2501 worse .*rejected\.$/);
});

test("one held-out row proves nothing", () => {
  const { decision, reasons } = gate(evaluation([2], { base: [3], tokens: [10] }), 0.1);
  assert.equal(decision, "reject");
  assert.match(reasons[0] ?? "", /one row has no spread/);
});

test("rows without tokens don't count as evidence", () => {
  const { decision } = gate(evaluation([2, 5, 5], { base: [3, 6, 6], tokens: [10, 0, 0] }), 0.1);
  assert.equal(decision, "reject");
});

test("a loss that is no number, or lists that don't belong together, are a failure and no decision", () => {
  const code = { code: "training_failed" };
  assert.throws(() => gate(evaluation([2, NaN, 2, 2]), 0.1), code);
  assert.throws(() => gate(evaluation(lowered(base, 0.5), { general: Infinity }), 0.1), code);
  assert.throws(() => gate(evaluation([2, 2]), 0.1), code);
  assert.throws(() => gate(evaluation(lowered(base, 0.5), { live: [2] }), 0.1), code);
  assert.throws(() => gate(evaluation([2, 2], { base: [3, 3], tokens: [0, 0] }), 0.1), code);
});

test("the paired difference is weighted by tokens and takes the rows' own difficulty out", () => {
  const pair = pairedDifference([1, 9], [2, 10], [30, 10]);
  assert.equal(pair.difference, -1);
  assert.equal(pair.standardError, 0); // both rows differ by the same, however different they are
  assert.equal(pair.mean, 3);
  assert.equal(pair.otherMean, 4);
  // By hand: differences -1 and -3, weights 1 and 3 → mean -2.5; squares 1.5² + (3 · 0.5)² = 4.5; √(2 · 4.5) / 4 = 0.75
  const uneven = pairedDifference([1, 1], [2, 4], [1, 3]);
  assert.equal(uneven.difference, -2.5);
  assert.equal(uneven.standardError, 0.75);
});

test("Student's t is that of the tables", () => {
  const tables: [number, number][] = [[1, 6.314], [2, 2.92], [9, 1.833], [10, 1.812], [15, 1.753], [30, 1.697], [120, 1.658], [100_000, 1.645]];
  for (const [freedom, expected] of tables) assert.ok(Math.abs(studentT95(freedom) - expected) < 0.0015, `${freedom}: ${studentT95(freedom)}`);
});
