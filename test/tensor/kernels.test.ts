import assert from "node:assert/strict";
import { test } from "node:test";
import * as tf from "../../shared/models/tfjs.ts";
import { backendName } from "../../shared/tensor/backend.ts";
import { fused } from "../../shared/tensor/kernels/fused.ts";
import { quantised } from "../../shared/tensor/kernels/quantised.ts";
import { kernels } from "../../shared/tensor/kernels/table.ts";
import { convolutionCases } from "./cases/convolution.ts";
import { elementwise } from "./cases/elementwise.ts";
import { indexing } from "./cases/indexing.ts";
import { multiplications } from "./cases/matmul.ts";
import { movement } from "./cases/movement.ts";
import { reductions } from "./cases/reduce.ts";
import { assertSame, onConstants, onInputs, onReference, type Result, type Trial } from "./support/both.ts";
import type { Case, Cases } from "./support/case.ts";

const cases: Cases = { ...elementwise, ...reductions, ...movement, ...indexing, ...multiplications, ...convolutionCases };

// tfjs has none of our own kernels: they are compared with the ops that they stand for, where shared/models uses them.
test("every kernel has cases, and every case its kernel", () => {
  assert.deepEqual(Object.keys(cases).sort(), Object.keys(kernels).filter((kernel) => fused[kernel] === undefined && quantised[kernel] === undefined).sort());
  for (const [kernel, list] of Object.entries(cases)) assert.ok(list.length > 0, kernel);
});

for (const [kernel, list] of Object.entries(cases)) {
  test(`${kernel}: ${list.length} cases`, async () => {
    const expected = await onReference(list);
    const called = await countingCalls(kernel, async () => compareAll(kernel, "of inputs", list, expected, await together(onInputs, list)));
    assert.ok(called >= list.length, `${kernel} was called ${called} times by ${list.length} cases`);
    const constant = list.filter(({ onlyInputs }) => onlyInputs === undefined);
    if (constant.length === 0) return;
    compareAll(kernel, "of constants", constant, expected.filter((_, at) => list[at]?.onlyInputs === undefined), await together(onConstants, constant));
  });
}

function compareAll(kernel: string, way: string, list: readonly Case[], expected: readonly Result[][], actual: readonly Result[][]): void {
  list.forEach((one, at) => assertSame(actual[at] ?? [], expected[at] ?? [], `${kernel} ${one.name}, ${way}`, one));
}

/** All cases in one graph; when that can't be compiled, one by one, to say which is at fault. */
async function together(run: (trials: readonly Trial[]) => Promise<Result[][]>, list: readonly Case[]): Promise<Result[][]> {
  try {
    return await run(list);
  } catch (whole) {
    for (const one of list) {
      await run([one]).catch((error: unknown) => {
        throw new Error(`case "${one.name}" fails`, { cause: error });
      });
    }
    throw whole;
  }
}

/** How often our kernel was called while `work` ran: a case that never reaches its kernel proves nothing. */
async function countingCalls(kernelName: string, work: () => Promise<void>): Promise<number> {
  const own = tf.getKernel(kernelName, backendName);
  let calls = 0;
  tf.unregisterKernel(kernelName, backendName);
  tf.registerKernel({
    ...own,
    kernelFunc: (params) => {
      calls++;
      return own.kernelFunc(params);
    },
  });
  try {
    await work();
  } finally {
    tf.unregisterKernel(kernelName, backendName);
    tf.registerKernel(own);
  }
  return calls;
}
