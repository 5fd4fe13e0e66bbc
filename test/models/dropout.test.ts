/** Masks of compiled dropout: their rate, and that rows, columns, modules and steps have nothing to do with each other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { drop, dropoutKeys } from "../../shared/models/dropout.ts";
import "../../shared/models/gradients.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { registerOnnxBackend } from "../../shared/tensor/backend.ts";
import { compile } from "../../shared/tensor/compile.ts";

const [rows, width, share] = [512, 576, 0.1];
const modules = Array.from({ length: 8 }, (_, at) => `model.layers.${Math.floor(at / 4)}.self_attn.${"qkvo"[at % 4]}_proj`);

/** 1 where an element was dropped, per step and module. */
async function masks(steps: number, seed = 1): Promise<Uint8Array[][]> {
  const backend = registerOnnxBackend({ provider: "cpu", threads: 1 });
  const graph = await compile(backend, [{ shape: [rows], dtype: "int32" }], (keys) => {
    assert.ok(keys);
    return modules.map((name) => drop(tf.ones([rows, width]), name, { share, keys }));
  });
  const result: Uint8Array[][] = [];
  for (let step = 1; step <= steps; step++) result.push((await graph.run([dropoutKeys(rows, seed, step, 0)])).map((kept) => Uint8Array.from(kept as Float32Array, (value) => (value === 0 ? 1 : 0))));
  await graph.close();
  return result;
}

const mean = (mask: Iterable<number>, count: number) => {
  let sum = 0;
  for (const value of mask) sum += value;
  return sum / count;
};

/** In standard deviations of what independent draws would give. */
function dependence(a: (at: number) => number, b: (at: number) => number, count: number): number {
  let both = 0;
  for (let at = 0; at < count; at++) both += (a(at) - share) * (b(at) - share);
  return both / (share * (1 - share)) / Math.sqrt(count);
}

test("the rate is the one that was asked for: in each mask, in each row and in each column", async () => {
  const [step] = await masks(1);
  assert.ok(step);
  const sigma = Math.sqrt(share * (1 - share));
  for (const mask of step) assert.ok(Math.abs(mean(mask, mask.length) - share) < (5 * sigma) / Math.sqrt(mask.length), `${mean(mask, mask.length)}`);
  const [mask] = step;
  assert.ok(mask);
  let [worstRow, worstColumn] = [0, 0];
  for (let row = 0; row < rows; row++) worstRow = Math.max(worstRow, Math.abs(mean(mask.subarray(row * width, (row + 1) * width), width) - share) / (sigma / Math.sqrt(width)));
  for (let column = 0; column < width; column++) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += mask[row * width + column] ?? 0;
    worstColumn = Math.max(worstColumn, Math.abs(sum / rows - share) / (sigma / Math.sqrt(rows)));
  }
  // Of 512 and 576 normal draws the largest is about 3.2; and were there no spread at all, the masks would be no chance.
  assert.ok(worstRow < 5 && worstRow > 2, `rows: ${worstRow}`);
  assert.ok(worstColumn < 5 && worstColumn > 2, `columns: ${worstColumn}`);
});

test("neighbouring rows, columns, modules, layers and steps have nothing to do with each other", async () => {
  const [one, two] = await masks(2);
  const [q, k] = [one?.[0], one?.[1]];
  const [otherLayer, otherStep] = [one?.[4], two?.[0]];
  assert.ok(q && k && otherLayer && otherStep);
  const count = rows * width;
  const of = (mask: Uint8Array, shift = 0) => (at: number) => mask[(at + shift) % count] ?? 0;
  const found = {
    columns: dependence(of(q), of(q, 1), count),
    rows: dependence(of(q), of(q, width), count),
    modules: dependence(of(q), of(k), count),
    layers: dependence(of(q), of(otherLayer), count),
    steps: dependence(of(q), of(otherStep), count),
  };
  for (const [what, deviations] of Object.entries(found)) assert.ok(Math.abs(deviations) < 5, `${what}: ${deviations} standard deviations`);
  // Any two modules.
  const worst = Math.max(...(one ?? []).flatMap((a, at) => (one ?? []).slice(at + 1).map((b) => Math.abs(dependence(of(a), of(b), count)))));
  assert.ok(worst < 5, `two modules: ${worst}`);
  // Any two of 64 columns, over many rows.
  const columns = Array.from({ length: 64 }, (_, column) => (row: number) => q[row * width + column] ?? 0);
  const pairs = columns.flatMap((a, at) => columns.slice(at + 1).map((b) => Math.abs(dependence(a, b, rows))));
  assert.ok(Math.max(...pairs) < 6.5, `two columns: ${Math.max(...pairs)}`); // 2,016 pairs of a skewed count
});

test("seed, step and batch each give other masks, and the same ones the same", () => {
  const draw = (seed: number, step: number, batch: number) => dropoutKeys(64, seed, step, batch).join();
  const all = [draw(1, 1, 0), draw(2, 1, 0), draw(1, 2, 0), draw(1, 1, 1), draw(1, 0, 1), draw(0, 1, 1)];
  assert.equal(new Set(all).size, all.length);
  assert.equal(draw(1, 1, 0), all[0]);
  assert.ok(dropoutKeys(1_000, 3, 3, 3).every((key) => (key & 1) === 1));
});

test("the gradient passes where the element was kept, and nowhere else; tfjs's own backend makes the same mask", async () => {
  const backend = registerOnnxBackend({ provider: "cpu", threads: 1 });
  const keys = dropoutKeys(8, 1, 1, 0);
  const build = (drawn: tf.Tensor) => {
    const dropout = { share: 0.4, keys: drawn };
    const x: tf.Tensor2D = tf.ones([8, 16]);
    return [drop(x, "m", dropout), tf.grad((value: tf.Tensor) => tf.sum(tf.mul(drop(value as tf.Tensor2D, "m", dropout), 3)))(x)];
  };
  const graph = await compile(backend, [{ shape: [8], dtype: "int32" }], (drawn) => {
    assert.ok(drawn);
    return build(drawn);
  });
  const [kept, gradient] = await graph.run([keys]);
  assert.deepEqual(Array.from(gradient as Float32Array), Array.from(kept as Float32Array, (value) => 3 * value));
  assert.ok((kept as Float32Array).some((value) => value === 0) && (kept as Float32Array).some((value) => value === 1));
  await graph.close();
  await tf.setBackend("cpu");
  const [reference] = build(tf.tensor1d(keys, "int32"));
  assert.deepEqual(Array.from((await reference?.data()) ?? []), Array.from(kept as Float32Array));
});
