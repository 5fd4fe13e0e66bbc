/**
 * A process that places the weights, compiles a function of them and runs it. It says "loading" when it found no file and waits for leave to go on:
 * so a test can have two of them in the middle of it. Arguments: the folder.
 */
import { once } from "node:events";
import * as tf from "../../../shared/models/tfjs.ts";
import { registerOnnxBackend } from "../../../shared/tensor/backend.ts";
import { compile } from "../../../shared/tensor/compile.ts";
import { mapWeights, placeWeights } from "../../../shared/tensor/weights.ts";
import { exampleFunction, exampleTypes, exampleValues, exampleWeights } from "./placed.ts";

const say = (message: object) => process.send?.(message);
const layout = await placeWeights(process.argv[2] ?? "", "identity", exampleTypes, () => exampleValues(async () => {
  say({ type: "loading" });
  await once(process, "message");
  return exampleWeights();
}));
const backend = registerOnnxBackend({ provider: "cpu", threads: 1 });
const mapped = mapWeights(backend, layout);
const compiled = await compile(backend, [{ shape: [2, 3], dtype: "float32" }], (x) => [exampleFunction(x ?? tf.scalar(0), mapped)]);
const [result] = await compiled.run([Float32Array.of(1, 2, 3, 4, 5, 6)]);
await compiled.close();
say({ type: "result", values: Array.from(result as Float32Array) });
process.disconnect?.();
