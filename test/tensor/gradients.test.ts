import assert from "node:assert/strict";
import { test } from "node:test";
import * as tf from "../../shared/models/tfjs.ts";
import { kernels } from "../../shared/tensor/kernels/table.ts";
import { differentiable } from "./cases/gradients.ts";
import { assertSame, onConstants, onInputs, onReference } from "./support/both.ts";
import { withGradients } from "./support/gradient.ts";

const close = { tolerance: 1e-5 };

test("every kernel that tfjs can differentiate has cases", () => {
  const expected = Object.keys(kernels).filter((kernel) => tf.getGradient(kernel) !== undefined);
  assert.deepEqual(Object.keys(differentiable).sort(), expected.sort());
});

for (const [kernel, list] of Object.entries(differentiable)) {
  test(`gradients through ${kernel}`, async () => {
    const trials = list.map(({ call, inputs }) => ({ call: withGradients(call, inputs), inputs }));
    const expected = await onReference(trials);
    for (const [way, run] of [["inputs", onInputs], ["constants", onConstants]] as const) {
      const actual = await run(trials);
      list.forEach(({ name }, at) => assertSame(actual[at] ?? [], expected[at] ?? [], `${kernel} of ${name} as ${way}`, close));
    }
  });
}
