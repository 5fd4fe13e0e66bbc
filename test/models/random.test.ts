import assert from "node:assert/strict";
import { test } from "node:test";
import { createRandom } from "../../shared/models/random.ts";

test("a seed fixes the sequence for good: runs of older versions can be repeated", () => {
  const random = createRandom(17);
  assert.deepEqual(Array.from({ length: 4 }, () => Math.floor(random.next() * 2 ** 32)), [629_758_798, 1_434_889_100, 172_161_475, 3_408_830_771]);
});

test("numbers are even in [0, 1), normal ones have mean 0 and variance 1, seeds beside each other differ", () => {
  const random = createRandom(1);
  const list = Array.from({ length: 20_000 }, () => random.next());
  assert.ok(list.every((value) => value >= 0 && value < 1));
  for (let tenth = 0; tenth < 10; tenth++) assert.ok(Math.abs(list.filter((value) => Math.floor(value * 10) === tenth).length - 2_000) < 200);
  const normal = Array.from({ length: 20_000 }, () => random.normal());
  const mean = normal.reduce((sum, value) => sum + value, 0) / normal.length;
  const variance = normal.reduce((sum, value) => sum + (value - mean) ** 2, 0) / normal.length;
  assert.ok(Math.abs(mean) < 0.03 && Math.abs(variance - 1) < 0.05, `${mean} ${variance}`);
  assert.equal(new Set([0, 1, 2, 3, -1].map((seed) => createRandom(seed).next())).size, 5);
});

test("shuffling moves every element everywhere, loses none, and leaves its input alone", () => {
  const random = createRandom(2);
  const list = Object.freeze(["a", "b", "c", "d"]);
  const seen = new Map<string, number>();
  for (let round = 0; round < 4_800; round++) {
    const order = random.shuffle(list).join("");
    seen.set(order, (seen.get(order) ?? 0) + 1);
  }
  assert.equal(seen.size, 24);
  for (const [order, count] of seen) {
    assert.equal([...order].sort().join(""), "abcd");
    assert.ok(Math.abs(count - 200) < 70, `${order}: ${count}`);
  }
  assert.deepEqual(random.shuffle([]), []);
});
