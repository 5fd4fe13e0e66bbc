import assert from "node:assert/strict";
import { test } from "node:test";
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16 } from "../../shared/models/half.ts";

const bitsOf = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;
const fromBits = (bits: number) => new Float32Array(Uint32Array.of(bits).buffer)[0] ?? 0;
const toHalf = (value: number) => float32ToFloat16(Float32Array.of(value))[0] ?? 0;
const fromHalf = (half: number) => float16ToFloat32(Uint16Array.of(half))[0] ?? 0;
const everyHalf = Uint16Array.from({ length: 65_536 }, (_, half) => half);
const isNaNHalf = (half: number) => (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0;

test("known float16 patterns (IEEE 754 binary16)", () => {
  for (const [half, value] of [
    [0x0000, 0],
    [0x8000, -0],
    [0x3c00, 1],
    [0xc000, -2],
    [0x3555, 0.333251953125],
    [0x7bff, 65_504],
    [0x0400, 2 ** -14],
    [0x03ff, 2 ** -14 - 2 ** -24],
    [0x0001, 2 ** -24],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
    [0x3c01, 1.0009765625],
  ] as const) {
    assert.ok(Object.is(fromHalf(half), value), `${half.toString(16)} → ${fromHalf(half)}`);
    assert.equal(toHalf(value).toString(16), half.toString(16));
  }
  assert.ok(Number.isNaN(fromHalf(0x7e00)));
  assert.ok(isNaNHalf(toHalf(NaN)));
});

test("every float16 survives the way there and back", () => {
  const back = float32ToFloat16(float16ToFloat32(everyHalf));
  everyHalf.forEach((half, at) => assert.ok(isNaNHalf(half) ? isNaNHalf(back[at] ?? 0) : back[at] === half, half.toString(16)));
});

test("between two float16 the nearer one is taken, and the even one of two equally near", () => {
  for (let half = 0; half < 0x7bff; half++) {
    const [low, high] = [fromHalf(half), fromHalf(half + 1)];
    const middle = (low + high) / 2; // exact: one bit more than a half has
    const even = half % 2 === 0 ? half : half + 1;
    assert.equal(toHalf(middle), even, `the middle above ${half.toString(16)}`);
    assert.equal(toHalf(fromBits(bitsOf(middle) - 1)), half);
    assert.equal(toHalf(fromBits(bitsOf(middle) + 1)), half + 1);
    assert.equal(toHalf(-middle), even | 0x8000);
  }
});

test("what is too large becomes infinite from half a step above the largest on, and what is too small becomes zero", () => {
  assert.equal(toHalf(65_519.996), 0x7bff);
  assert.equal(toHalf(65_520), 0x7c00);
  assert.equal(toHalf(-1e30), 0xfc00);
  assert.equal(toHalf(2 ** -25), 0);
  assert.equal(toHalf(fromBits(bitsOf(2 ** -25) + 1)), 1);
  assert.equal(toHalf(-(2 ** -26)), 0x8000);
  assert.equal(toHalf(1e-45), 0);
});

test("bfloat16 is the upper half of a float32, every pattern of it", () => {
  const values = bfloat16ToFloat32(everyHalf);
  const bits = new Uint32Array(values.buffer);
  everyHalf.forEach((half, at) => assert.equal(bits[at], (half << 16) >>> 0));
  for (const [half, value] of [[0x3f80, 1], [0xc000, -2], [0x4049, 3.140625], [0x7f80, Infinity], [0x0001, 2 ** -133], [0x8000, -0]] as const) assert.ok(Object.is(bfloat16ToFloat32(Uint16Array.of(half))[0], value));
});
