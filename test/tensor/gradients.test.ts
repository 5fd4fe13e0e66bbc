import assert from "node:assert/strict";
import { test } from "node:test";
import * as tf from "../../shared/models/tfjs.ts";
import { kernels } from "../../shared/tensor/kernels/table.ts";
import { differentiable, withoutGradient } from "./cases/gradients.ts";
import { assertSame, float, onConstants, onInputs, onReference } from "./support/both.ts";
import { withGradients } from "./support/gradient.ts";

const close = { tolerance: 1e-5 };

test("every kernel that tfjs can differentiate has cases", () => {
  const expected = Object.keys(kernels).filter((kernel) => tf.getGradient(kernel) !== undefined);
  assert.deepEqual([...Object.keys(differentiable), ...Object.keys(withoutGradient)].sort(), expected.sort());
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

for (const [kernel, message] of Object.entries(withoutGradient)) {
  test(`no gradient through ${kernel}, and the message says why`, async () => {
    const inputs = [float([3], [1, 2, 3])];
    await assert.rejects(onInputs([{ inputs, call: withGradients((x) => tf.prod(x), inputs) }]), message);
  });
}
