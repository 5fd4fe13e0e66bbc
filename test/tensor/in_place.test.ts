/**
 * Attention that writes its cache: what it computes against a loop over the formulas (Ainslie et al. 2023; Su et al. 2021), that it writes where it should and
 * nowhere else, and that no run copies the cache, which hangs on what the installed binding does with a first output that it can't hand over.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ownKernel } from "../../shared/models/kernel.ts";
import { createRandom } from "../../shared/models/random.ts";
import { rotationTables } from "../../shared/models/rope.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { backend } from "./support/both.ts";

const [heads, keyValueHeads, size, scale] = [6, 2, 16, 0.25];
const group = heads / keyValueHeads;
const width = (heads + 2 * keyValueHeads) * size;
const rope = { theta: 100, size, magnitude: 1, scaling: { type: "default" } } as const;
const tables = rotationTables(rope, 64);

const floats = (...shape: number[]): InputSpec => ({ shape, dtype: "float32" });
const ints = (...shape: number[]): InputSpec => ({ shape, dtype: "int32" });
const specs = (rows: number, capacity: number, positions: number) => [floats(rows, width), floats(rows, keyValueHeads, capacity, size), floats(rows, keyValueHeads, capacity, size), ints(rows), ints(1), floats(positions, size / 2), floats(positions, size / 2)];
const attention = compile(
  backend,
  specs(5, 7, 31),
  (...inputs) => {
    const [qkv, keys, values, lasts, most, cos, sin] = inputs as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const made = ownKernel("CachedAttention", { qkv, keys, values, lasts, most, cos, sin }, { heads, keyValueHeads, scale, window: 0, cap: 0 }) ?? [];
    const [mixed] = made;
    assert.ok(mixed !== undefined);
    return [tf.mul(mixed, 2), ...made.slice(1)];
  },
  specs(9, 11, 37),
  { inPlace: new Map([[1, 1], [2, 2]]) },
);

const random = createRandom(3);
const normal = (length: number) => Float32Array.from({ length }, () => random.normal());

/** The two halves of a head turned against each other by the angles of a position. */
function turned(head: Float32Array, position: number): Float32Array {
  const half = size / 2;
  return head.map((value, at) => {
    const place = position * half + (at % half);
    const other = at < half ? -(head[at + half] ?? NaN) : (head[at - half] ?? NaN);
    return value * (tables.cos[place] ?? NaN) + other * (tables.sin[place] ?? NaN);
  });
}

function run(rows: number, capacity: number, lengths: readonly number[], given: { qkv: Float32Array; keys: Float32Array; values: Float32Array }) {
  const cache = [rows, keyValueHeads, capacity, size];
  const table = [64, size / 2];
  return attention.then((compiled) =>
    compiled.run([
      { values: given.qkv, shape: [rows, width] },
      { values: given.keys, shape: cache },
      { values: given.values, shape: cache },
      { values: Int32Array.from(lengths), shape: [rows] },
      { values: Int32Array.of(Math.max(...lengths) + 1), shape: [1] },
      { values: tables.cos, shape: table },
      { values: tables.sin, shape: table },
    ]),
  );
}

test("it gives what the formulas give, and writes each row's key and value behind its own length, and nothing else", async () => {
  const [rows, capacity, lengths] = [3, 20, [0, 19, 7]];
  const [qkv, keys, values] = [normal(rows * width), normal(rows * keyValueHeads * capacity * size), normal(rows * keyValueHeads * capacity * size)];
  const given = { qkv, keys: keys.slice(), values: values.slice() };
  const [mixed, ...rest] = await run(rows, capacity, lengths, given);
  assert.deepEqual(rest, []); // what was written over is not given out again
  const expected = new Float32Array(rows * heads * size);
  const part = (row: number, head: number) => qkv.subarray(row * width + head * size, row * width + (head + 1) * size);
  for (const [row, length] of lengths.entries()) {
    for (let pair = 0; pair < keyValueHeads; pair++) {
      const place = (position: number) => ((row * keyValueHeads + pair) * capacity + position) * size;
      keys.set(turned(part(row, heads + pair), length), place(length));
      values.set(part(row, heads + keyValueHeads + pair), place(length));
      for (let head = pair * group; head < (pair + 1) * group; head++) {
        const query = turned(part(row, head), length);
        const scores = Array.from({ length: length + 1 }, (_, position) => scale * query.reduce((sum, value, at) => sum + value * (keys[place(position) + at] ?? NaN), 0));
        const shares = scores.map((score) => Math.exp(score - Math.max(...scores)));
        const total = shares.reduce((sum, share) => sum + share, 0);
        for (let at = 0; at < size; at++) expected[(row * heads + head) * size + at] = (2 * shares.reduce((sum, share, position) => sum + share * (values[place(position) + at] ?? NaN), 0)) / total;
      }
    }
  }
  const worst = (a: ArrayLike<number>, b: Float32Array) => b.reduce((most, value, at) => Math.max(most, Math.abs(value - (a[at] ?? NaN))), 0);
  assert.ok(worst(mixed as Float32Array, expected) < 1e-5, `off by ${worst(mixed as Float32Array, expected)}`);
  assert.ok(worst(given.keys, keys) < 1e-6);
  assert.deepEqual(given.values, values);
});

test("the cache is not copied", async () => {
  const [rows, capacity] = [1, 32_768];
  const given = { qkv: normal(rows * width), keys: new Float32Array(rows * keyValueHeads * capacity * size), values: new Float32Array(rows * keyValueHeads * capacity * size) };
  await run(rows, capacity, [3], given);
  // Of each run alone: a collection between two would take away what they left.
  let most = 0;
  for (let step = 0; step < 10; step++) {
    const before = process.memoryUsage().arrayBuffers;
    await run(rows, capacity, [4 + step], given);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  // Two copies would be 8 MB. Should a new binding bring them back: shared/tensor/runtime.ts.
  assert.ok(most < given.keys.byteLength, `a run left arrays of ${most} bytes`);
});

test("a run that fails says why", async () => {
  const given = { qkv: normal(width), keys: new Float32Array(keyValueHeads * 4 * size), values: new Float32Array(keyValueHeads * 4 * size) };
  await assert.rejects(run(1, 4, [70], given), /GroupQueryAttention/); // further than the tables of angles
  await assert.rejects(run(1, 4, [4], given), /shape/i); // further than the cache: nothing may be written behind it
  await assert.rejects(run(1, 5, [0], given), /input 1 has/);
});

test("what an operator did not make itself can't be written in place", async () => {
  await assert.rejects(
    compile(backend, [floats(2, 3), floats(2, 3)], (x) => [x ?? tf.scalar(0)], undefined, { inPlace: new Map([[0, 1]]) }),
    /output_0 can't be written in place/,
  );
});
