/** What a base model's weights become in the file that graphs map: as they are in float32, or its linear layers in 8 or 4 bits, put together where they only serve. */
import type { ModelConfig } from "../models/config.ts";
import type { ModelFolder } from "../models/folder.ts";
import { expectedTensors, jointly, projections, wholes } from "../models/layout.ts";
import type { Quantization } from "../models/quantization.ts";
import { forwardsOnly, quantisedTensors, quantisedValues, type Use } from "../models/quantise.ts";
import type { StoredType } from "../tensor/weights.ts";
import type { TypedArray } from "../tensor/graph.ts";

/** A weight that is quantised, [out, in]. */
interface Linear {
  readonly sides: readonly [number, number];
  readonly isHead: boolean;
  /** The folder's weights whose outputs it has, one behind the other; mostly it is one of them itself. */
  readonly parts: readonly string[];
}

/** By the name that it is stored under. */
function linearWeights(c: ModelConfig, quantization: Quantization, use: Use): ReadonlyMap<string, Linear> {
  if (quantization === "none") return new Map();
  const linear = new Map<string, Linear>();
  const joint = use === "training" || c.fused ? [] : wholes.map((whole) => [whole, jointly[whole](c)] as const);
  const single = projections(c).filter(([name]) => !joint.some(([, parts]) => parts.some(([part]) => part === name)));
  for (let layer = 0; layer < c.layers; layer++) {
    const named = (name: string) => `model.layers.${layer}.${name}.weight`;
    for (const [name, sides] of single) linear.set(named(name), { sides, isHead: false, parts: [named(name)] });
    // One large product costs less than three small ones, and x is rounded once.
    for (const [whole, parts] of joint) linear.set(named(whole), { sides: [parts.reduce((sum, [, outputs]) => sum + outputs, 0), c.hiddenSize], isHead: false, parts: parts.map(([name]) => named(name)) });
  }
  // In training 4 bits are for memory, and the head's table stays in float32 anyway.
  if (use !== "training" || quantization === "int8") linear.set(headName(c), { sides: [c.vocabSize, c.hiddenSize], isHead: true, parts: [headName(c)] });
  return linear;
}

/** In training the head's gradient is a mean of all its rows by probabilities, most of which 8 bits would call zero. */
const partsOf = (name: string, { sides, isHead }: Linear, quantization: Exclude<Quantization, "none">, use: Use) => quantisedTensors(name, sides, quantization, use).map((part) => (isHead && !forwardsOnly(part.name) ? null : part));

const headName = (c: ModelConfig) => (c.tiedHead ? "model.embed_tokens.weight" : "lm_head.weight");

/** A tied head's table is looked up in float32, besides; so is what the head's gradient goes through. */
const keptToo = (name: string, c: ModelConfig, use: Use) => name === "model.embed_tokens.weight" || (name === headName(c) && use === "training");

export function storedTensors(c: ModelConfig, quantization: Quantization, use: Use): ReadonlyMap<string, StoredType> {
  const linear = linearWeights(c, quantization, use);
  const stored = new Map<string, StoredType>();
  if (quantization !== "none") for (const [name, layer] of linear) for (const part of partsOf(name, layer, quantization, use)) if (part !== null) stored.set(part.name, { shape: part.shape, dtype: part.dtype });
  const quantised = new Set([...linear.values()].flatMap(({ parts }) => parts));
  for (const [name, shape] of expectedTensors(c)) if (!quantised.has(name) || keptToo(name, c, use)) stored.set(name, { shape, dtype: "float32" });
  return stored;
}

/** @throws EverloraError invalid_model_folder */
export async function* storedValues(folder: ModelFolder, quantization: Quantization, use: Use): AsyncGenerator<readonly [string, TypedArray]> {
  const linear = linearWeights(folder.config, quantization, use);
  const wholeOf = new Map([...linear].flatMap(([name, layer]) => layer.parts.map((part) => [part, { name, layer }] as const)));
  /** Of weights that are put together: what came already. */
  const waiting = new Map<string, Float32Array>();
  for await (const [name, { values }] of folder.eachWeight()) {
    const whole = wholeOf.get(name);
    if (quantization !== "none" && whole !== undefined) {
      waiting.set(name, values);
      const { parts, sides } = whole.layer;
      if (parts.every((part) => waiting.has(part))) {
        const made = quantisedValues(joined(parts.map((part) => waiting.get(part) ?? values)), sides, quantization, use);
        for (const part of parts) waiting.delete(part);
        for (const [at, part] of partsOf(whole.name, whole.layer, quantization, use).entries()) {
          const numbers = made[at];
          if (part !== null && numbers !== undefined) yield [part.name, numbers];
        }
      }
    }
    if (whole === undefined || keptToo(name, folder.config, use)) yield [name, values];
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    whole.set(part, end);
    end += part.length;
  }
  return whole;
}
