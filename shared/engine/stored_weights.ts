/** What a base model's weights become in the file that graphs map: as they are in float32, or its linear layers in 8 or 4 bits. */
import type { ModelConfig } from "../models/config.ts";
import type { ModelFolder } from "../models/folder.ts";
import { expectedTensors, projections } from "../models/layout.ts";
import type { Quantization } from "../models/quantization.ts";
import { quantisedTensors, quantisedValues, type Use } from "../models/quantise.ts";
import type { StoredType } from "../tensor/weights.ts";
import type { TypedArray } from "../tensor/graph.ts";

/** The weights that are quantised, [out, in]. */
function linearWeights(c: ModelConfig, use: Use): ReadonlyMap<string, readonly [number, number]> {
  const blocks = Array.from({ length: c.layers }, (_, layer) => projections(c).map(([name, shape]) => [`model.layers.${layer}.${name}.weight`, shape] as const));
  // In training the head stays: its gradient is a mean of all its rows by probabilities, most of which 8 bits would call zero.
  return new Map([...blocks.flat(), ...(use === "serving" ? [[headName(c), [c.vocabSize, c.hiddenSize]] as const] : [])]);
}

const headName = (c: ModelConfig) => (c.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight");

/** A tied head's table is looked up in float32, besides. */
const keptToo = (name: string) => name === "model.embed_tokens.weight";

export function storedTensors(c: ModelConfig, quantization: Quantization, use: Use): ReadonlyMap<string, StoredType> {
  const linear = linearWeights(c, use);
  const stored = new Map<string, StoredType>();
  for (const [name, shape] of expectedTensors(c)) {
    const sides = linear.get(name);
    const quantised = quantization === "none" || sides === undefined ? [] : quantisedTensors(name, sides, quantization, use);
    for (const part of quantised) stored.set(part.name, { shape: part.shape, dtype: part.dtype });
    if (quantised.length === 0 || keptToo(name)) stored.set(name, { shape, dtype: "float32" });
  }
  return stored;
}

/** @throws EverloraError invalid_model_folder */
export async function* storedValues(folder: ModelFolder, quantization: Quantization, use: Use): AsyncGenerator<readonly [string, TypedArray]> {
  const linear = linearWeights(folder.config, use);
  for await (const [name, { values }] of folder.eachWeight()) {
    const sides = linear.get(name);
    if (quantization === "none" || sides === undefined) {
      yield [name, values];
      continue;
    }
    const parts = quantisedValues(values, sides, quantization, use);
    for (const [at, { name: part }] of quantisedTensors(name, sides, quantization, use).entries()) {
      const made = parts[at];
      if (made !== undefined) yield [part, made];
    }
    if (keptToo(name)) yield [name, values];
  }
}
