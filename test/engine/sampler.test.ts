import assert from "node:assert/strict";
import { test } from "node:test";
import { sample } from "../../shared/engine/sampler.ts";
import { createRandom, type Random } from "../../shared/models/random.ts";

const logits = Float32Array.of(1, 3, 2, -1, 3);
/** Draws the given point of [0, 1). */
const fixed = (point: number): Random => ({ next: () => point, normal: () => 0, shuffle: (list) => [...list] });
const drawn = (values: Float32Array, temperature: number, topP: number, draws: number, seed = 1): number[] => {
  const random = createRandom(seed);
  const counts = Array.from(values, () => 0);
  for (let round = 0; round < draws; round++) {
    const token = sample(values, { temperature, topP }, random);
    counts[token] = (counts[token] ?? NaN) + 1;
  }
  return counts;
};
const softmax = (values: Float32Array, temperature: number) => {
  const weights = Array.from(values, (value) => Math.exp(value / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
};

test("temperature 0 takes the likeliest, of equal ones the first, and draws nothing", () => {
  const random: Random = { ...fixed(0), next: () => assert.fail("a number was drawn") };
  assert.equal(sample(logits, { temperature: 0, topP: 1 }, random), 1);
  assert.equal(sample(Float32Array.of(-5), { temperature: 0, topP: 0.1 }, random), 0);
});

test("the same seed draws the same tokens, another seed others", () => {
  const run = (seed: number) => {
    const random = createRandom(seed);
    return Array.from({ length: 40 }, () => sample(logits, { temperature: 1, topP: 0.9 }, random)).join("");
  };
  assert.equal(run(3), run(3));
  assert.notEqual(run(3), run(4));
});

for (const temperature of [0.5, 1, 2]) {
  test(`tokens come as often as softmax says at temperature ${temperature}`, () => {
    const counts = drawn(logits, temperature, 1, 20_000);
    softmax(logits, temperature).forEach((share, token) => assert.ok(Math.abs((counts[token] ?? 0) / 20_000 - share) < 0.015, `token ${token}: ${counts[token]} of 20000, expected ${share}`));
  });
}

test("top-p keeps the fewest likeliest tokens that reach it, and their proportions", () => {
  const values = Float32Array.from([0.5, 0.25, 0.15, 0.1], Math.log);
  assert.deepEqual(drawn(values, 1, 0.5, 500).map((count) => count > 0), [true, false, false, false]);
  assert.deepEqual(drawn(values, 1, 0.51, 500).map((count) => count > 0), [true, true, false, false]);
  assert.deepEqual(drawn(values, 1, 0.95, 2_000).map((count) => count > 0), [true, true, true, true]);
  const [first = 0, second = 0] = drawn(values, 1, 0.7, 20_000);
  assert.ok(Math.abs(first / (first + second) - 2 / 3) < 0.015);
});

test("top-p of 0, or less than the likeliest has, takes the likeliest", () => {
  for (const topP of [0, 1e-12, 0.3]) assert.deepEqual(drawn(Float32Array.of(0, 5, 1), 1, topP, 50), [0, 50, 0]);
});

test("the ends of the range are tokens that have a chance", () => {
  const values = Float32Array.of(-Infinity, 0, 0, -Infinity);
  const last = 1 - 2 ** -32;
  for (const topP of [1, 0.999, 0.4]) {
    assert.equal(sample(values, { temperature: 1, topP }, fixed(0)), 1);
    assert.equal(sample(values, { temperature: 1, topP }, fixed(last)), topP > 0.5 ? 2 : 1);
    // Rounding may leave a crumb beyond the last weight.
    assert.notEqual(sample(values, { temperature: 1, topP }, fixed(1.000001)), 3);
  }
});

test("a tiny temperature is greedy and a huge one even, without overflow", () => {
  assert.deepEqual(drawn(Float32Array.of(1e30, -1e30, 5), 1e-30, 1, 20), [20, 0, 0]);
  const even = drawn(Float32Array.of(1, 2, 3), 1e30, 1, 9_000);
  assert.ok(even.every((count) => Math.abs(count - 3_000) < 250), even.join(" "));
});

test("scores that are no numbers are an error, not an answer", () => {
  for (const values of [[NaN, 1], [1, NaN], [NaN, NaN], [Infinity, 1], [-Infinity, -Infinity]]) {
    assert.throws(() => sample(Float32Array.from(values), { temperature: 1, topP: 1 }, fixed(0.5)), { name: "EverloraError", code: "engine_failed" }, values.join());
  }
  for (const values of [[NaN, 1], [Infinity, 1], []]) assert.throws(() => sample(Float32Array.from(values), { temperature: 0, topP: 1 }, fixed(0.5)), { code: "engine_failed" });
});
