/** Compiled functions kept on disk: found by another process, not by another function, and made anew when damaged. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as tf from "../../shared/models/tfjs.ts";
import { registerOnnxBackend } from "../../shared/tensor/backend.ts";
import { compile, type InputSpec } from "../../shared/tensor/compile.ts";
import { chooseDevice } from "../../shared/tensor/device.ts";
import { mapWeights, placeWeights } from "../../shared/tensor/weights.ts";

const backend = registerOnnxBackend(chooseDevice("auto", 1));
const row: InputSpec = { shape: [1, 3], dtype: "float32" };
let home: string;
let folder: string;
let weight: tf.Tensor;

before(async () => {
  home = await mkdtemp(join(tmpdir(), "everlora-cache-"));
  const layout = await placeWeights(home, "a", new Map([["w", { shape: [3, 2], dtype: "float32" as const }]]), async function* () {
    yield await Promise.resolve(["w", Float32Array.of(1, 2, 3, 4, 5, 6)] as const);
  });
  folder = join(layout.path, "..");
  weight = mapWeights(backend, layout)["w"] ?? assert.fail();
});
after(() => rm(home, { recursive: true }));

/** Runs x · w · factor + a constant that is too large for the graph file. */
async function run(key: string, factor = 2): Promise<{ values: number[]; traced: number }> {
  let traced = 0;
  const compiled = await compile(
    backend,
    [row],
    (x) => {
      traced++;
      const large = tf.tensor1d(Float32Array.from({ length: 2_000 }, (_, at) => at));
      return [tf.add(tf.mul(tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D), factor), tf.slice(large, [1_999], [1]))];
    },
    undefined,
    { cache: { folder, key } },
  );
  const [values] = await compiled.run([Float32Array.of(1, 0, 1)]);
  await compiled.close();
  return { values: Array.from(values ?? [], Number), traced };
}

const entries = async () => (await readdir(folder)).filter((name) => name.startsWith("compiled-")).sort();

test("the second time nothing is traced, and the numbers are the same", async () => {
  assert.deepEqual(await run("first"), { values: [2 * 6 + 1_999, 2 * 8 + 1_999], traced: 1 });
  assert.deepEqual(await run("first"), { values: [2_011, 2_015], traced: 0 });
  assert.deepEqual((await entries()).map((name) => name.replace(/^.*\./, "")), ["json", "onnx"]);
});

test("another key is another function", async () => {
  assert.deepEqual(await run("second", 3), { values: [2_017, 2_023], traced: 1 });
});

test("an entry that is cut off, garbled or without its frame is made anew", async () => {
  const [frame = "", model = ""] = await entries();
  for (const damage of [() => truncate(join(folder, model), 10), () => writeFile(join(folder, frame), "{\"bytes\":"), () => rm(join(folder, frame))]) {
    await run("first");
    await run("second", 3);
    await damage();
    const [first, second] = [await run("first"), await run("second", 3)];
    assert.deepEqual([first.values, second.values], [[2_011, 2_015], [2_017, 2_023]]);
    assert.equal(first.traced + second.traced, 1);
  }
});

test("an entry that is as long as it was and yet no model is made anew", async () => {
  await run("first");
  for (const name of (await entries()).filter((each) => each.endsWith(".onnx"))) {
    const { length } = await import("node:fs/promises").then(({ readFile }) => readFile(join(folder, name)));
    await writeFile(join(folder, name), Buffer.alloc(length, 7));
  }
  assert.deepEqual(await run("first"), { values: [2_011, 2_015], traced: 1 });
});
