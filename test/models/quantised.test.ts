/** Weights in 8 and 4 bits: what the layouts stand for, products and gradients by them, and a whole model on them. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openLanguageModel, toLora } from "../../shared/engine/language_model.ts";
import { toBatch } from "../../shared/engine/pack.ts";
import { createTrainStep, type Parameter } from "../../shared/engine/step.ts";
import { adamWDefaults } from "../../shared/models/adamw.ts";
import { projections } from "../../shared/models/layout.ts";
import { quantizations } from "../../shared/models/quantization.ts";
import { blockSize, blockSizeFor, dequantiseBlocks, quantiseBlocks, quantiseRows, quantisedTensors, quantisedValues } from "../../shared/models/quantise.ts";
import { quantisedProduct } from "../../shared/models/quantised_product.ts";
import { createRandom } from "../../shared/models/random.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { registerOnnxBackend } from "../../shared/tensor/backend.ts";
import { compile } from "../../shared/tensor/compile.ts";
import { verifyGraph } from "../../shared/tensor/verify.ts";
import { writeRandomModel } from "../support/random_model.ts";

const backend = registerOnnxBackend({ provider: "cpu", threads: 1 });
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-quantised-"));
});
after(() => rm(folder, { recursive: true }));

const random = createRandom(11);
/** Normal numbers, with one that is ten times as large in each row, as outlier features are. */
const matrix = (rows: number, columns: number) => Float32Array.from({ length: rows * columns }, (_, at) => (at % columns === 3 ? 10 : 1) * Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next()));

function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value ** 2, 0));
  return norm(Float32Array.from({ length: expected.length }, (_, at) => (actual[at] ?? NaN) - (expected[at] ?? NaN))) / norm(expected);
}

test("rows: no number is off by more than half a step of its row, and zeros stay zeros", () => {
  const weight = matrix(5, 37);
  weight.fill(0, 2 * 37, 3 * 37);
  const { values, transposed, scales } = quantiseRows(weight, 5, 37);
  weight.forEach((number, at) => {
    const [row, column] = [Math.floor(at / 37), at % 37];
    assert.ok(Math.abs((values[at] ?? 0) * (scales[row] ?? 0) - number) <= ((scales[row] ?? 0) / 2) * 1.001);
    assert.equal(transposed[column * 5 + row], values[at]);
  });
  assert.equal(scales[2], 0);
});

test("4 bits: no number is off by more than a step of its block, in a last block that is not full, too", () => {
  const columns = 2 * blockSize + 5;
  const weight = matrix(3, columns);
  const blocks = quantiseBlocks(weight, 3, columns);
  const back = dequantiseBlocks(blocks, 3, columns);
  weight.forEach((number, at) => {
    const step = Math.abs(blocks.scales[Math.floor(at / columns) * 3 + Math.floor((at % columns) / blockSize)] ?? 0);
    assert.ok(Math.abs((back[at] ?? NaN) - number) <= step * 1.001, `${number} became ${back[at]}`);
  });
});

test("a 4-bit block as GGML's Q4_0 writes it", () => {
  // d = max / -8 with max = -4 (the largest magnitude): d = 0.5; level = round(x / d) + 8.
  const row = Float32Array.from({ length: 32 }, (_, at) => [-4, 3, 0.25, -0.3][at] ?? 0);
  const { packed, scales } = quantiseBlocks(row, 1, 32);
  assert.equal(scales[0], 0.5);
  assert.deepEqual([packed[0], packed[1], packed[2]], [0 | (14 << 4), 9 | (7 << 4), 8 | (8 << 4)]);
});

const cases = [
  { quantization: "int8", use: "training", off: 0.02 },
  { quantization: "int4", use: "training", off: 0.001 },
  { quantization: "int8", use: "serving", off: 0.02 },
  { quantization: "int4", use: "serving", off: 0.02 },
  { quantization: "int4", use: "batches", off: 0.02 },
] as const;
for (const { quantization, use, off } of cases) {
  test(`${quantization} for ${use}: product and gradient are those of the weight that the numbers stand for`, async () => {
    const [rows, outputs, inputs] = [6, 96, 64];
    const [weight, x, dy] = [matrix(outputs, inputs), matrix(rows, inputs), matrix(rows, outputs)];
    const types = quantisedTensors("w", [outputs, inputs], quantization, use);
    const values = quantisedValues(weight, [outputs, inputs], quantization, use);
    const stored = Object.fromEntries(types.map(({ name, shape, dtype }, at) => [name, backend.tensorOf({ kind: "data", values: values[at] ?? assert.fail() }, shape, dtype)]));
    const bits = quantization === "int8" ? 8 : 4;
    const kept = quantization === "int8" ? rowsBack(weight, outputs, inputs) : dequantiseBlocks(quantiseBlocks(weight, outputs, inputs, blockSizeFor(use)), outputs, inputs, blockSizeFor(use));
    // The numbers that are ten times as large take their whole block's levels; the larger the block, the more of the others.
    const coarse = blockSizeFor(use) === blockSize ? 0.2 : 0.25;
    assert.ok(relativeError(kept, weight) < (bits === 8 ? 0.02 : coarse), `the numbers are near the weight: ${relativeError(kept, weight)}`);
    backend.inspect = verifyGraph;
    const specs = [{ shape: [rows, inputs], dtype: "float32" }, { shape: [rows, outputs], dtype: "float32" }] as const;
    const product = (given: tf.Tensor) => quantisedProduct(given as tf.Tensor2D, "w", stored) ?? assert.fail();
    const compiled = await compile(backend, specs, (given, slope) => (use === "training" ? [product(given ?? assert.fail()), tf.grad(product)(given ?? assert.fail(), slope)] : [product(given ?? assert.fail())]), undefined, { prepack: true });
    const [y, dx] = await compiled.run([x, dy]);
    await compiled.close();
    const expected = Float32Array.from({ length: rows * outputs }, (_, at) => sum(inputs, (k) => (x[Math.floor(at / outputs) * inputs + k] ?? 0) * (kept[(at % outputs) * inputs + k] ?? 0)));
    assert.ok(relativeError(y as Float32Array, expected) < off, `product off by ${relativeError(y as Float32Array, expected)}`);
    if (use !== "training") return;
    const slope = Float32Array.from({ length: rows * inputs }, (_, at) => sum(outputs, (k) => (dy[Math.floor(at / inputs) * outputs + k] ?? 0) * (kept[k * inputs + (at % inputs)] ?? 0)));
    // The transposed copy in 4 bits is rounded a second time.
    const bound = quantization === "int4" ? 0.2 : 0.04;
    assert.ok(relativeError(dx as Float32Array, slope) < bound, `gradient off by ${relativeError(dx as Float32Array, slope)}`);
  });
}

const sum = (count: number, term: (at: number) => number) => Array.from({ length: count }, (_, at) => term(at)).reduce((total, value) => total + value, 0);
function rowsBack(weight: Float32Array, outputs: number, inputs: number): Float32Array {
  const { values, scales } = quantiseRows(weight, outputs, inputs);
  return Float32Array.from(values, (value, at) => value * (scales[Math.floor(at / inputs)] ?? 0));
}

test("a model trains on quantised weights: losses stay near float32's, and fall", async () => {
  const path = await writeRandomModel(join(folder, "model"), { layers: 2, hiddenSize: 64, heads: 4, keyValueHeads: 2, intermediateSize: 96, vocabSize: 5_200, contextLength: 64 });
  const curves = new Map<string, number[]>();
  for (const quantization of quantizations) {
    const model = await openLanguageModel(path, join(folder, "compiled"), { provider: "cpu", threads: 1 }, { quantization });
    const seeded = createRandom(5);
    const parameters: Parameter[] = [0, 1].flatMap((layer) =>
      projections(model.folder.config).flatMap(([name, [outputs, inputs]]) => [
        { name: `model.layers.${layer}.${name}.A`, shape: [4, inputs], values: new Float32Array(4 * inputs).map(() => (seeded.next() - 0.5) / Math.sqrt(inputs)) },
        { name: `model.layers.${layer}.${name}.B`, shape: [outputs, 4], values: new Float32Array(4 * outputs) },
      ]),
    );
    const step = await createTrainStep(model.backend, parameters, (tensors) => ({ weights: model.weights, lora: toLora(parameters, tensors, 2) }), model.folder.config, { rows: 1, length: 32 }, adamWDefaults);
    const batch = toBatch([[{ ids: Array.from({ length: 30 }, (_, at) => 100 + ((at * 37) % 400)), trained: Array<boolean>(30).fill(true) }]], 1, 32);
    const losses: number[] = [];
    for (let at = 0; at < 12; at++) losses.push((await step.run(batch, 1e-2)).loss);
    await step.close();
    curves.set(quantization, losses);
  }
  const plain = curves.get("none") ?? [];
  for (const [name, losses] of curves) {
    assert.ok((losses.at(-1) ?? NaN) < (losses[0] ?? NaN) - 0.5, `${name} falls: ${losses.map((loss) => loss.toFixed(2)).join(" ")}`);
    losses.forEach((loss, at) => assert.ok(Math.abs(loss - (plain[at] ?? NaN)) < 0.35, `${name} at step ${at}: ${loss}, float32 ${plain[at]}`));
  }
});
