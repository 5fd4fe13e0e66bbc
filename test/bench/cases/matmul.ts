/** The machine's own speed: a plain 2048³ product in onnxruntime-node. What the training benches are measured against. */
import * as tf from "../../../shared/models/tfjs.ts";
import { registerOnnxBackend } from "../../../shared/tensor/backend.ts";
import { compile } from "../../../shared/tensor/compile.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import type { Bench } from "../bench.ts";

/** Multiplications and additions per second of the machine, the best of `runs`: what disturbs only ever slows down. */
export async function matmulRate(side = 2_048, runs = 7): Promise<number> {
  const backend = registerOnnxBackend(chooseDevice("cpu", 0));
  const product = await compile(backend, [{ shape: [side, side], dtype: "float32" }, { shape: [side, side], dtype: "float32" }], (a, b) => {
    if (a === undefined || b === undefined) throw new RangeError("two inputs");
    return [tf.slice(tf.matMul(a, b), [0, 0], [1, 1])];
  });
  const values = Float32Array.from({ length: side * side }, (_, at) => ((at * 2_654_435_761) % 1_000) / 1_000 - 0.5);
  let best = Infinity;
  for (let run = 0; run < runs; run++) {
    const started = performance.now();
    await product.run([values, values]);
    best = Math.min(best, performance.now() - started);
  }
  await product.close();
  return (2 * side ** 3) / (best / 1_000);
}

export const matmul: Bench = {
  name: "matmul",
  about: "a plain 2048³ product in onnxruntime-node: the machine's own speed",
  async run({ report }) {
    report({ case: "2048³ float32", sizes: { side: 2_048 }, ours: (await matmulRate()) / 1e9, unit: "GFLOP/s", versions: { onnxruntime: runtimeVersion } });
  },
};
