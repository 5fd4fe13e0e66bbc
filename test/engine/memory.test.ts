import assert from "node:assert/strict";
import { test } from "node:test";
import { activationBytes, batchesFit, freeMemory, isOutOfMemory, machineMemory, packsWeights, planMemory, weightBytes } from "../../shared/engine/memory.ts";
import { toyConfig } from "../support/toy_model.ts";

const smol = toyConfig({ vocab_size: 49_152, hidden_size: 576, intermediate_size: 1_536, num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3, max_position_embeddings: 2_048 });
const shape = { rows: 1, length: 1_024, dropout: 0 };
const gigabyte = 2 ** 30;

test("the estimate is within a quarter of what was measured for 30 layers of width 576 and 1,024 positions", () => {
  const { plain, recomputed } = activationBytes(smol, shape);
  // Peaks of the process less its size before the first step: 3,211,624 kB and 345,552 kB.
  assert.ok(plain / (3_211_624 * 1_024) > 0.75 && plain / (3_211_624 * 1_024) < 1.25, `${plain}`);
  assert.ok(recomputed / (345_552 * 1_024) > 0.6 && recomputed / (345_552 * 1_024) < 1.4, `${recomputed}`);
});

test("it grows with batch, length, dropout and layers", () => {
  const of = (changes: Partial<typeof shape>) => activationBytes(smol, { ...shape, ...changes }).plain;
  assert.equal(of({ rows: 2 }), 2 * of({}));
  assert.ok(of({ length: 2_048 }) > 2 * of({})); // attention is quadratic
  assert.ok(of({ dropout: 0.1 }) > of({}));
  assert.ok(weightBytes(smol) > 4 * 134_000_000);
});

test("auto switches on where memory is short, or has run out before; a setting is a setting", () => {
  assert.equal(planMemory("auto", smol, shape, 16 * gigabyte, false).recompute, false);
  const short = planMemory("auto", smol, shape, 4 * gigabyte, false);
  assert.equal(short.recompute, true);
  assert.match(short.reason, /needs about \d+ MB .* 4096 MB are free/);
  assert.deepEqual(planMemory("auto", smol, shape, 64 * gigabyte, true), { recompute: true, reason: "an earlier attempt ran out of memory" });
  assert.deepEqual([planMemory("on", smol, shape, 64 * gigabyte, false).recompute, planMemory("off", smol, shape, 1, true).recompute], [true, false]);
  assert.ok(freeMemory() > 2 ** 20 && machineMemory() >= freeMemory());
  // Copies of the weights are for machines that have room for them whatever runs beside, and not for who ran out of it once.
  assert.deepEqual([8, 24].map((gigabytes) => packsWeights(smol, shape, gigabytes * gigabyte, false, "none")), [false, true]);
  assert.equal(packsWeights(smol, shape, 64 * gigabyte, true, "none"), false);
});

test("8-bit weights beside the 4-bit ones are for machines that have ten times their memory", () => {
  // Four copies of 134.5 million bytes.
  assert.deepEqual([4, 8, 24].map((gigabytes) => batchesFit(smol, gigabytes * gigabyte)), [false, true, true]);
});

test("words for memory that was not there are recognised, others are not", () => {
  const said = [
    "std::bad_alloc",
    "Non-zero status code returned while running FusedMatMul node. Status Message: bad allocation",
    "onnxruntime/core/framework/bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 805306368",
    "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
    "Array buffer allocation failed",
    "Invalid array length",
  ];
  for (const words of said) assert.ok(isOutOfMemory(words), words);
  for (const words of ["the loss became NaN", "ENOSPC: no space left on device", "invalid model"]) assert.ok(!isOutOfMemory(words), words);
});
