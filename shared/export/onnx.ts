/**
 * The base with an adapter merged, as an ONNX model for any runtime: `input_ids` and `position_ids` int32 [1, T] → `logits` float32 [1, T, V], for any T.
 * Weights lie beside it in model.onnx.data. The operators are ONNX's and, for a few, ONNX Runtime's own (com.microsoft).
 */
import { join } from "node:path";
import { writeFileAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import type { ModelFolder } from "../models/folder.ts";
import { expectedTensors } from "../models/layout.ts";
import { attendingTo, blocks, embed, logitsOf } from "../models/transformer.ts";
import * as tf from "../models/tfjs.ts";
import type { Adapter } from "../peft/adapter.ts";
import { registerOnnxBackend } from "../tensor/backend.ts";
import { traceToOnnx, type InputSpec } from "../tensor/compile.ts";
import { mapWeights, writeWeights } from "../tensor/weights.ts";
import { mergedWeights } from "./merge.ts";

const modelFile = "model.onnx";
const dataFile = "model.onnx.data";

/** @param adapter null: the base alone @throws EverloraError invalid_model_folder */
export async function writeOnnx(out: string, base: ModelFolder, adapter: Adapter | null): Promise<void> {
  const { config } = base;
  await makeFolder(out);
  const types = new Map([...expectedTensors(config)].map(([name, shape]) => [name, { shape, dtype: "float32" as const }]));
  const layout = await writeWeights(join(out, dataFile), types, () => mergedWeights(base, adapter));
  const backend = registerOnnxBackend({ provider: "cpu", threads: 1 });
  const weights = mapWeights(backend, layout);
  const sized = (length: number): InputSpec[] => [{ shape: [1, length], dtype: "int32" }, { shape: [1, length], dtype: "int32" }];
  const build = (...[tokens, positions]: tf.Tensor[]): tf.Tensor[] => {
    if (tokens === undefined || positions === undefined) throw new RangeError("the model was traced with too few inputs");
    const visible = tf.greaterEqual(tf.expandDims(positions, 2), tf.expandDims(positions, 1));
    const { hidden } = blocks(embed(tokens, weights, config), attendingTo({ positions, visible }, config), weights, null, config);
    return [tf.expandDims(logitsOf(hidden, weights, config), 0)];
  };
  // Two sizes that nothing else has, so that what is free can be told from what is not.
  const model = traceToOnnx(backend, sized(149), build, sized(151), { inputs: ["input_ids", "position_ids"], outputs: ["logits"] });
  await writeFileAtomic(join(out, modelFile), model);
}
