/** Weights and a function of them, for tests that place weights in a file. */
import * as tf from "../../../shared/models/tfjs.ts";

export const exampleShapes: ReadonlyMap<string, readonly number[]> = new Map([
  ["matrix", [4, 3]],
  ["bias", [4]],
  // More than a page, so that the next one does not simply begin at the second.
  ["table", [50, 40]],
  ["gain", [1]],
]);

export function exampleWeights(): Map<string, { values: Float32Array }> {
  return new Map([...exampleShapes].map(([name, shape], place) => [name, { values: Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, (_, at) => Math.sin(at + place)) }]));
}

export function exampleFunction(x: tf.Tensor, weights: Readonly<Record<string, tf.Tensor>>): tf.Tensor {
  const { matrix, bias, table, gain } = weights;
  if (!matrix || !bias || !table || !gain) throw new RangeError("a weight is missing");
  return tf.mul(tf.add(tf.add(tf.matMul(x, matrix, false, true), bias), tf.sum(tf.gather(table, tf.tensor1d([49, 0], "int32")))), gain);
}

/** As `placeWeights` takes them. */
export const exampleTypes = new Map([...exampleShapes].map(([name, shape]) => [name, { shape, dtype: "float32" as const }]));
export async function* exampleValues(given: () => Promise<ReadonlyMap<string, { values: Float32Array }>> = () => Promise.resolve(exampleWeights())) {
  for (const [name, { values }] of await given()) yield [name, values] as const;
}
