/** The model's own parts, differentiated on both backends. What Hugging Face computes for them is compared in test/models. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { adamW, adamWDefaults } from "../../shared/models/adamw.ts";
import type { Lora } from "../../shared/models/linear.ts";
import { swiGlu } from "../../shared/models/activation.ts";
import { causalAttention } from "../../shared/models/causal_attention.ts";
import { chunkRows, headLoss } from "../../shared/models/loss.ts";
import { hiddenStates, lossesOf } from "../../shared/models/transformer.ts";
import { rmsNorm } from "../../shared/models/norm.ts";
import { createRandom } from "../../shared/models/random.ts";
import { rotate } from "../../shared/models/rope.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { toyConfig, toyWeights } from "../support/toy_model.ts";
import { assertSame, float, int, onConstants, onInputs, onReference, type Call, type Spec } from "./support/both.ts";
import { withGradients } from "./support/gradient.ts";

const random = createRandom(5);
const normal = (...shape: number[]): Spec => float(shape, Array.from({ length: shape.reduce((product, side) => product * side, 1) }, () => random.normal()));

const plainRmsNorm: Call = (x, gain) => tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), 1e-5))), gain);
const attention: Call = (q, k, v) => {
  const length = q.shape[1] ?? 0;
  const order = tf.range(0, length, 1, "int32");
  const mask = tf.where(tf.greaterEqual(tf.expandDims(order, 1), tf.expandDims(order, 0)), tf.zeros([length, length]), tf.fill([length, length], -1e9));
  return tf.matMul(tf.softmax(tf.add(tf.mul(tf.matMul(q, k, false, true), 0.5), mask)), v);
};

const composites: readonly { readonly name: string; readonly inputs: readonly Spec[]; readonly call: Call }[] = [
  { name: "the head's loss", inputs: [normal(5, 4), normal(7, 4), int([5], [0, 6, 3, 3, 1])], call: (x, head, targets) => headLoss(x as tf.Tensor2D, head as tf.Tensor2D, targets as tf.Tensor1D) },
  { name: "the head's loss with a soft cap", inputs: [normal(5, 4), normal(7, 4), int([5], [0, 6, 3, 3, 1])], call: (x, head, targets) => headLoss(x as tf.Tensor2D, head as tf.Tensor2D, targets as tf.Tensor1D, { softcap: 1.5 }) },
  { name: "the head's loss of large logits", inputs: [float([3, 1], [900, -900, 1]), float([4, 1], [1, -1, 0, 0.999]), int([3], [0, 1, 3])], call: (x, head, targets) => headLoss(x as tf.Tensor2D, head as tf.Tensor2D, targets as tf.Tensor1D) },
  { name: "tfjs's cross-entropy", inputs: [normal(4, 5), int([4], [4, 0, 2, 2])], call: (logits, targets) => tf.losses.softmaxCrossEntropy(tf.oneHot(targets, 5, 1, 0, "float32"), logits) },
  { name: "log-softmax", inputs: [normal(3, 6)], call: (x) => tf.logSoftmax(x) },
  { name: "RMS norm", inputs: [normal(3, 8), normal(8)], call: plainRmsNorm },
  { name: "attention", inputs: [normal(2, 4, 6), normal(2, 4, 6), normal(2, 4, 6)], call: attention },
  { name: "embedding and tied head", inputs: [normal(9, 4), int([2, 3], [8, 0, 1, 8, 8, 2])], call: (table, ids) => tf.matMul(tf.reshape(tf.gather(table, ids), [-1, 4]), table, false, true) },
  { name: "low-rank addition", inputs: [normal(3, 5), normal(4, 5), normal(2, 5), normal(4, 2)], call: (x, W, A, B) => tf.add(tf.matMul(x, W, false, true), tf.mul(tf.matMul(tf.matMul(x, A, false, true), B, false, true), 2)) },
  { name: "SwiGLU", inputs: [normal(3, 4), normal(3, 4)], call: (gate, up) => tf.mul(tf.mul(gate, tf.sigmoid(gate)), up) },
  { name: "a gradient that only half of a split has", inputs: [normal(2, 6)], call: (x) => tf.split(x, 2, 1)[0] ?? x },
];

for (const { name, inputs, call } of composites) {
  test(`${name}: value and gradients`, async () => {
    const trial = [{ call: withGradients(call, inputs), inputs }];
    const [expected = []] = await onReference(trial);
    for (const run of [onInputs, onConstants]) {
      const [actual = []] = await run(trial);
      assertSame(actual, expected, name, { tolerance: 2e-5 });
    }
  });
}

for (const { rows, softcap } of [{ rows: 6, softcap: null }, { rows: chunkRows * 2 + 3, softcap: null }, { rows: 6, softcap: 2 }]) {
  test(`the head's loss of ${rows} rows${softcap === null ? "" : " with a soft cap"} is −log softmax, and its written-out gradients are those that tfjs derives`, async () => {
    const capped = (logits: tf.Tensor) => (softcap === null ? logits : tf.mul(tf.tanh(tf.div(logits, softcap)), softcap));
    const derived: Call = (x, head, ids) => tf.neg(tf.sum(tf.mul(tf.logSoftmax(capped(tf.matMul(x as tf.Tensor2D, head as tf.Tensor2D, false, true))), tf.oneHot(ids, 9, 1, 0, "float32")), -1));
    const written: Call = (x, head, ids) => headLoss(x as tf.Tensor2D, head as tf.Tensor2D, ids as tf.Tensor1D, { softcap });
    const inputs = [normal(rows, 4), normal(9, 4), int([rows], Array.from({ length: rows }, (_, at) => (at * 5) % 9))];
    const [first = [], second = []] = await onInputs([{ inputs, call: withGradients(derived, inputs) }, { inputs, call: withGradients(written, inputs) }]);
    assertSame(second, first, "the head's loss", { tolerance: 1e-5 });
  });
}

for (const { length, heads, keyValueHeads } of [{ length: 5, heads: 2, keyValueHeads: 2 }, { length: 300, heads: 6, keyValueHeads: 2 }]) {
  test(`causal attention over ${length} positions is the plain one, and its written-out gradients are those that tfjs derives`, async () => {
    const group = heads / keyValueHeads;
    const size = 4;
    const order = Array.from({ length }, (_, at) => at);
    // Two sequences in a row: the later one does not see the earlier one.
    const mask = () => tf.tensor(order.flatMap((query) => order.map((key) => (key > query || (query >= 3 && key < 3) ? -1e9 : 0))), [1, 1, length, length]);
    const repeated = (x: tf.Tensor) => tf.reshape(tf.mul(tf.expandDims(x, 2), tf.ones([2, keyValueHeads, group, length, size])), [2, heads, length, size]);
    const plain: Call = (q, k, v) => tf.matMul(tf.softmax(tf.add(tf.mul(tf.matMul(q, repeated(k), false, true), 0.3), tf.reshape(mask(), [1, 1, length, length]))), repeated(v));
    const written: Call = (q, k, v) => causalAttention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, mask(), 0.3);
    const inputs = [normal(2, heads, length, size), normal(2, keyValueHeads, length, size), normal(2, keyValueHeads, length, size)];
    const [first = [], second = []] = await onInputs([{ inputs, call: withGradients(plain, inputs) }, { inputs, call: withGradients(written, inputs) }]);
    assertSame(second, first, "attention", { tolerance: 1e-5 });
  });
}

const written: readonly { readonly name: string; readonly inputs: readonly Spec[]; readonly ours: Call; readonly derived: Call }[] = [
  { name: "RMS norm", inputs: [normal(3, 8), normal(8)], ours: (x, gain) => rmsNorm(x, gain, 1e-5), derived: plainRmsNorm },
  { name: "RMS norm of heads", inputs: [normal(2, 3, 4, 8), normal(8)], ours: (x, gain) => rmsNorm(x, gain, 1e-5, 1), derived: (x, gain) => plainRmsNorm(x, tf.add(gain, 1)) },
  { name: "SwiGLU", inputs: [normal(3, 4), normal(3, 4)], ours: (gate, up) => swiGlu(gate, up), derived: (gate, up) => tf.mul(tf.mul(gate, tf.sigmoid(gate)), up) },
  {
    name: "rotary embedding",
    inputs: [normal(2, 3, 5, 8), normal(2, 1, 5, 4)],
    ours: (x, angles) => rotate(x as tf.Tensor4D, { cos: tf.concat([tf.cos(angles), tf.cos(angles)], -1), sin: tf.concat([tf.sin(angles), tf.sin(angles)], -1) }),
    derived: (x, angles) => {
      const [first = x, second = x] = tf.split(x, 2, -1);
      return tf.add(tf.concat([tf.sub(tf.mul(first, tf.cos(angles)), tf.mul(second, tf.sin(angles))), tf.add(tf.mul(second, tf.cos(angles)), tf.mul(first, tf.sin(angles)))], -1), tf.mul(tf.sum(angles), 0));
    },
  },
];

for (const { name, inputs, ours, derived } of written) {
  test(`${name}: the written-out gradients are those that tfjs derives, and tfjs's own backend agrees`, async () => {
    const trial = [{ inputs, call: withGradients(ours, inputs) }];
    const [[first = []], [second = []], [reference = []]] = [await onInputs([{ inputs, call: withGradients(derived, inputs) }]), await onInputs(trial), await onReference(trial)];
    const compared = name === "rotary embedding" ? [0, 1] : [...first.keys()]; // nobody differentiates by angles
    assertSame(compared.map((at) => second[at] ?? assert.fail()), compared.map((at) => first[at] ?? assert.fail()), name, { tolerance: 1e-5 });
    assertSame(second, reference, name, { tolerance: 1e-5 });
  });
}

/** A packed batch of a whole model: two segments and padding in the first row. */
const tokens = int([2, 6], [5, 9, 200, 7, 31, 0, 44, 3, 3, 91, 8, 100]);
const positions = int([2, 6], [0, 1, 2, 0, 1, 0, 0, 1, 2, 3, 4, 5]);
const segments = int([2, 6], [1, 1, 1, 2, 2, 0, 1, 1, 1, 1, 1, 1]);
const config = toyConfig();
const weights = toyWeights(config);
const names = [...weights.keys()];
const weightSpecs = [...weights.values()].map(({ shape, values }): Spec => ({ shape, dtype: "float32", values }));

test("a whole model: loss and the gradient of every weight", async () => {
  const inputs = [tokens, positions, segments, ...weightSpecs];
  const loss: Call = (ids, at, parts, ...list) => {
    const byName = Object.fromEntries(names.map((name, place) => [name, list[place] ?? tf.scalar(0)]));
    return lossesOf(hiddenStates(ids, at, parts, byName, null, config), tf.reshape(ids, [-1]), byName, config);
  };
  const trial = [{ call: withGradients(loss, inputs), inputs }];
  const [[expected = []], [actual = []]] = [await onReference(trial), await onInputs(trial)];
  assert.equal(expected.length, 1 + names.length);
  assertSame(actual, expected, "model", { tolerance: 1e-4 });
});

test("a whole model with an adapter: the gradient reaches A and B of every module, and B = 0 leaves A's at zero", async () => {
  const modules = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"];
  const sizes = [[16, 16], [24, 16]] as const;
  const adapter = (b: number) => sizes.flatMap(([from, to]) => [normal(3, from), float([to, 3], b === 0 ? [0] : [b, -b, 2 * b])]);
  const loss: Call = (ids, at, parts, ...list) => {
    const byName = Object.fromEntries(names.map((name, place) => [name, tf.tensor(weightSpecs[place]?.values ?? [], [...(weightSpecs[place]?.shape ?? [])])]));
    const lora: Lora = { scale: 2, modules: Object.fromEntries(modules.map((name, place) => [name, { A: list[2 * place] ?? tf.scalar(0), B: list[2 * place + 1] ?? tf.scalar(0) }])) };
    return lossesOf(hiddenStates(ids, at, parts, byName, lora, config), tf.reshape(ids, [-1]), byName, config);
  };
  for (const b of [0.1, 0]) {
    const inputs = [tokens, positions, segments, ...adapter(b)];
    const trial = [{ call: withGradients(loss, inputs), inputs }];
    const [[expected = []], [actual = []]] = [await onReference(trial), await onInputs(trial)];
    assertSame(actual, expected, `adapter with B of ${b}`, { tolerance: 1e-4 });
    actual.slice(1).forEach(({ values }, at) => assert.equal(Array.from(values).every((value) => value === 0), b === 0 && at % 2 === 0, `gradient ${at} with B of ${b}`));
  }
});

test("AdamW: three steps with clipping and weight decay", async () => {
  const settings = { ...adamWDefaults, weightDecay: 0.1, clipNorm: 0.5 };
  const inputs = [normal(2, 3), normal(4), normal(2, 3), normal(4)];
  const steps: Call = (matrix, gain, matrixGradient, gainGradient) => {
    let state = { parameters: [matrix, gain], first: [tf.zerosLike(matrix), tf.zerosLike(gain)], second: [tf.zerosLike(matrix), tf.zerosLike(gain)] } as Parameters<typeof adamW>[0];
    const norms: tf.Tensor[] = [];
    for (let step = 1; step <= 3; step++) {
      const next = adamW(state, [tf.mul(matrixGradient, step), gainGradient], tf.scalar(0.01), tf.scalar(step), settings);
      norms.push(next.norm);
      state = next;
    }
    return [...norms, ...state.parameters, ...state.first, ...state.second];
  };
  const trial = [{ call: steps, inputs }];
  const [expected = []] = await onReference(trial);
  const [actual = []] = await onInputs(trial);
  assertSame(actual, expected, "AdamW", { tolerance: 1e-5 });
});
