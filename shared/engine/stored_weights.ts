/** What a base model's weights become in the file that graphs map: as they are in float32, or its linear layers in 8 or 4 bits. */
import type { ModelConfig } from "../models/config.ts";
import type { ModelFolder } from "../models/folder.ts";
import { expectedTensors, projections } from "../models/layout.ts";
import type { Quantization } from "../models/quantization.ts";
import { forwardsOnly, quantisedTensors, quantisedValues, type Use } from "../models/quantise.ts";
import type { StoredType } from "../tensor/weights.ts";
import type { TypedArray } from "../tensor/graph.ts";

interface Linear {
  readonly sides: readonly [number, number];
  readonly isHead: boolean;
}

/** The weights that are quantised, [out, in]. */
function linearWeights(c: ModelConfig, quantization: Quantization, use: Use): ReadonlyMap<string, Linear> {
  if (quantization === "none") return new Map();
  const blocks = Array.from({ length: c.layers }, (_, layer) => projections(c).map(([name, sides]) => [`model.layers.${layer}.${name}.weight`, { sides, isHead: false }] as const));
  // In training 4 bits are for memory, and the head's table stays in float32 anyway.
  const head = use !== "training" || quantization === "int8" ? [[headName(c), { sides: [c.vocabSize, c.hiddenSize], isHead: true }] as const] : [];
  return new Map<string, Linear>([...blocks.flat(), ...head]);
}

/** In training the head's gradient is a mean of all its rows by probabilities, most of which 8 bits would call zero. */
const partsOf = (name: string, { sides, isHead }: Linear, quantization: Exclude<Quantization, "none">, use: Use) => quantisedTensors(name, sides, quantization, use).map((part) => (isHead && !forwardsOnly(part.name) ? null : part));

const headName = (c: ModelConfig) => (c.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight");

/** A tied head's table is looked up in float32, besides; so is what the head's gradient goes through. */
const keptToo = (name: string, c: ModelConfig, use: Use) => name === "model.embed_tokens.weight" || (name === headName(c) && use === "training");

export function storedTensors(c: ModelConfig, quantization: Quantization, use: Use): ReadonlyMap<string, StoredType> {
  const linear = linearWeights(c, quantization, use);
  const stored = new Map<string, StoredType>();
  for (const [name, shape] of expectedTensors(c)) {
    const layer = linear.get(name);
    const parts = quantization === "none" || layer === undefined ? [] : partsOf(name, layer, quantization, use);
    for (const part of parts) if (part !== null) stored.set(part.name, { shape: part.shape, dtype: part.dtype });
    if (parts.length === 0 || keptToo(name, c, use)) stored.set(name, { shape, dtype: "float32" });
  }
  return stored;
}

/** @throws EverloraError invalid_model_folder */
export async function* storedValues(folder: ModelFolder, quantization: Quantization, use: Use): AsyncGenerator<readonly [string, TypedArray]> {
  const linear = linearWeights(folder.config, quantization, use);
  for await (const [name, { values }] of folder.eachWeight()) {
    const layer = linear.get(name);
    const parts = quantization === "none" || layer === undefined ? [] : partsOf(name, layer, quantization, use);
    const made = quantization === "none" || layer === undefined ? [] : quantisedValues(values, layer.sides, quantization, use);
    for (const [at, part] of parts.entries()) {
      const numbers = made[at];
      if (part !== null && numbers !== undefined) yield [part.name, numbers];
    }
    if (parts.length === 0 || keptToo(name, folder.config, use)) yield [name, values];
  }
}
