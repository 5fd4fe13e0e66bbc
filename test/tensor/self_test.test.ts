/** A device that computes wrongly is found out by the kernel that is at fault, and not taken. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EverloraError } from "../../shared/errors/errors.ts";
import { chooseDevice, type Candidate, type Candidates } from "../../shared/tensor/device.ts";
import { kernels } from "../../shared/tensor/kernels/table.ts";
import { openSyncSession } from "../../shared/tensor/runtime.ts";
import { differences, selfTest, type Runner } from "../../shared/tensor/self_test.ts";

const processor: Runner = (model, feeds, outputs) => {
  const session = openSyncSession(model, { provider: "cpu", threads: 1 });
  try {
    return session.run(feeds, outputs) as ArrayLike<number>[];
  } finally {
    session.close();
  }
};
/** The processor, but for the output at a place. */
const faulty = (place: number, fault: (right: number[]) => number[]): Runner => (model, feeds, outputs) => processor(model, feeds, outputs).map((values, at) => (at === place ? fault(Array.from(values)) : values));
const replaced = (values: number[], place: number, value: number) => values.map((old, at) => (at === place ? value : old));

test("the processor agrees with itself, and so does rounding", () => {
  assert.equal(selfTest({ provider: "cpu", threads: 2 }), null);
  for (let place = 0; place < 10; place++) assert.equal(differences(kernels, faulty(place, (right) => right.map(Math.fround).map((value) => value * (1 + 1e-3))), processor), null);
});

for (const [what, place, fault, expected] of [
  ["an output that is left as it was", 4, (right: number[]) => right.map(() => 0), /^it computes something else than the processor: RmsNorm by 1\.0$/],
  ["one number in many", 3, (right: number[]) => replaced(right, 5, (right[5] ?? 0) + 3), /: RmsNorm by \d/],
  ["something that is no number", 1, (right: number[]) => replaced(right, 2, NaN), /: BatchMatMul by Infinity$/],
  ["too few", 0, (right: number[]) => right.slice(1), /: BatchMatMul by Infinity$/],
] as const) {
  test(`${what} is seen`, () => assert.match(differences(kernels, faulty(place, fault), processor) ?? "nothing", expected));
}

test("each output is looked at", () => {
  let count = 0;
  differences(kernels, (model, feeds, outputs) => {
    count = outputs.length;
    return processor(model, feeds, outputs);
  }, processor);
  assert.ok(count > 15);
  for (let place = 0; place < count; place++) assert.match(differences(kernels, faulty(place, (right) => right.map((value) => value + 10)), processor) ?? "nothing", /else than the processor: \w+ by/, `output ${place}`);
});

test("a device that computes wrongly is an error where it was asked for, and left alone by auto", () => {
  const starts: Candidate = { missing: () => null, product: () => 1, hint: "-" };
  const wrong: Candidate = { ...starts, wrong: () => "it computes something else than the processor: RmsNorm by 1.1", hint: "a newer driver" };
  const absent: Candidate = { ...starts, missing: () => "not there" };
  const machine: Candidates = { cpu: { ...starts, product: () => 30 }, cuda: absent, webgpu: wrong, "tfjs-node-gpu": absent };
  assert.throws(() => chooseDevice("webgpu", 1, machine), (error: unknown) => error instanceof EverloraError && error.code === "device_unavailable" && error.message.includes("RmsNorm by 1.1"));
  const chosen = chooseDevice("auto", 1, machine);
  assert.equal(chosen.provider, "cpu");
  assert.match(chosen.reason, /no webgpu: it computes something else than the processor: RmsNorm by 1\.1/);
});
