/**
 * The compiled functions of decoding, each made once and used for every batch, cache and prompt: one reads a piece of one prompt, one decodes a token of
 * each row; of each there is one without adapters and one for each set of projections that adapters lie on.
 */
import type { KeyValue } from "../models/attention.ts";
import type { LayerKind, ModelConfig } from "../models/config.ts";
import { append, extend } from "../models/decode.ts";
import type { Lora } from "../models/linear.ts";
import { isBlocks, isServingRows } from "../models/quantise.ts";
import { OnnxBackend } from "../tensor/backend.ts";
import * as tf from "../models/tfjs.ts";
import { compile, type Compiled, type InputSpec } from "../tensor/compile.ts";
import type { Projection } from "./adapter_rows.ts";
import type { LanguageModel } from "./language_model.ts";

/** Pieces of prompts; a token of each row; the same where there are many and the weights lie there in a layout for many. */
export type Kind = "read" | "decode" | "batch";

/** From so many rows on, products by 8-bit rows cost less than by 4-bit blocks: 6.2 ms against 8.1 for two rows of SmolLM2's shape on one thread, 5.9 against 5.3 for one. */
const leastWide = 2;

/** Bytes of float32 weights that each graph may have a copy of. */
const mostPacked = 64 * 2 ** 20;

interface Sizes {
  readonly rows: number;
  readonly length: number;
  readonly capacity: number;
  /** Of the tables of angles. */
  readonly positions: number;
  /** Adapters: as many as rows, each row its own; where prompts are read also one for all of them. */
  readonly adapters: number;
  readonly rank: number;
}

/** Any sizes would do as long as they differ: primes are equal to no other size by chance. Where prompts are read, each adapter has as many of the rows. */
const decodeSizes: readonly [Sizes, Sizes] = [
  { rows: 131, length: 1, capacity: 137, positions: 163, adapters: 131, rank: 139 },
  { rows: 149, length: 1, capacity: 151, positions: 167, adapters: 149, rank: 157 },
];
const sizes: Readonly<Record<Kind, readonly [Sizes, Sizes]>> = {
  read: [
    { rows: 15, length: 101, capacity: 103, positions: 163, adapters: 5, rank: 107 },
    { rows: 33, length: 109, capacity: 113, positions: 167, adapters: 11, rank: 127 },
  ],
  decode: decodeSizes,
  batch: decodeSizes,
};

/**
 * By index, where tokens are decoded: logits [B, V]; the likeliest token of each row, of equal ones the first, int32 [B, 1], and its logit [B, 1]; then the new
 * keys and values as models/decode.ts has them, or from there on the caches, where a graph writes into them. `read` gives logits, and keys and values.
 * Logits that nobody asks for need not be copied: 1.5 MB a step of eight rows.
 */
export const outputs = { logits: 0, likeliest: 1, logit: 2, own: 3 } as const;

/** The kinds of a model's layers, in the order in which the graphs take their tables of angles. */
export const kindsOf = ({ layerKinds }: Pick<ModelConfig, "layerKinds">): readonly LayerKind[] => [...new Set(layerKinds)].sort();

export class DecodeGraphs {
  readonly #model: LanguageModel;
  readonly #graphs = new Map<string, Promise<Compiled>>();
  /** Keys by list of projections: a step comes with the list that the one before had, and the key of 210 names takes longer to make than to look up. */
  readonly #keys = new WeakMap<readonly Projection[], string>();
  /**
   * Integer products want their weights in an order of their own; without it each token would put it right again (2.9 tokens/s, 80 with it). Others gain a
   * third to a half by it (everlora-tiny: a token of two rows 4.2 → 2.7 ms, a prompt of 25 tokens 4.6 → 3.1), but share no memory then: only where it is little.
   */
  readonly #packs: boolean;
  /** Weights lie there in 4 bits for one row and in 8 bits for many. */
  readonly #twice: boolean;
  /** Attention writes a token's keys and values into the cache, and nobody else need do so. */
  readonly writes: boolean;

  constructor(model: LanguageModel) {
    this.#model = model;
    this.writes = model.backend instanceof OnnxBackend && model.backend.device.provider === "cpu" && fitsWriting(model.folder.config);
    const names = Object.keys(model.weights);
    this.#packs = names.some((name) => isBlocks(name) || isServingRows(name)) || 4 * model.folder.parameters <= mostPacked;
    this.#twice = names.some(isBlocks) && names.some(isServingRows);
  }

  /** The function that decodes a token of each of so many rows. */
  decoding(rows: number): Kind {
    return this.#twice && rows >= leastWide ? "batch" : "decode";
  }

  /** All that there are. */
  get kinds(): readonly Kind[] {
    return this.#twice ? ["read", "decode", "batch"] : ["read", "decode"];
  }

  /**
   * Inputs: tokens [B, T], positions [B, T], for `read` where in B·T the last token of each row is [B], slots [1, C], keys and values of each layer
   * [B, K, C, S], A and B of each projection. Outputs: see `outputs`. Where a graph `writes` and is not for `read`, the inputs are: tokens [B, 1], lengths
   * [B], most [1], cosines and sines of each kind of layer [P, S' / 2], and keys and values, A and B as above.
   */
  get(kind: Kind, projections: readonly Projection[]): Promise<Compiled> {
    const key = this.#keyOf(kind, projections);
    const known = this.#graphs.get(key);
    if (known !== undefined) return known;
    const [first, second] = sizes[kind];
    const { compiled, folder } = this.#model;
    const made = compile(this.#model.backend, this.#specs(kind, first, projections), (...inputs) => this.#build(kind, inputs, projections), this.#specs(kind, second, projections), {
      cache: { ...compiled, key: JSON.stringify([compiled.key, folder.config, kind, projections]) },
      prepack: this.#packs,
      ...(this.#writesAs(kind) ? { inPlace: this.#overwritten() } : {}),
    });
    this.#graphs.set(key, made);
    made.catch(() => this.#graphs.delete(key));
    return made;
  }

  /** Whether `get` would find it compiled, or being compiled. */
  has(kind: Kind, projections: readonly Projection[]): boolean {
    return this.#graphs.has(this.#keyOf(kind, projections));
  }

  #keyOf(kind: Kind, projections: readonly Projection[]): string {
    const names = this.#keys.get(projections) ?? projections.map(({ name }) => name).join(" ");
    this.#keys.set(projections, names);
    return `${kind} ${names}`;
  }

  #writesAs(kind: Kind): boolean {
    return this.writes && kind !== "read";
  }

  /** The caches, over the inputs that they are. */
  #overwritten(): ReadonlyMap<number, number> {
    const { config } = this.#model.folder;
    const before = 3 + 2 * kindsOf(config).length;
    return new Map(Array.from({ length: 2 * config.layers }, (_, at) => [outputs.own + at, before + at]));
  }

  #specs(kind: Kind, { rows, length, capacity, positions, adapters, rank }: Sizes, projections: readonly Projection[]): InputSpec[] {
    const { config } = this.#model.folder;
    const { layers, keyValueHeads, headSize } = config;
    const ints = (...shape: number[]): InputSpec => ({ shape, dtype: "int32" });
    const floats = (...shape: number[]): InputSpec => ({ shape, dtype: "float32" });
    const places = kind === "read" ? [ints(rows, length), ints(rows), ints(1, capacity)] : [ints(rows, length), ints(1, capacity)];
    const turning = kindsOf(config).flatMap((each) => [floats(positions, config.rope[each].size / 2), floats(positions, config.rope[each].size / 2)]);
    return [
      ints(rows, length),
      ...(this.#writesAs(kind) ? [ints(rows), ints(1), ...turning] : places),
      ...Array.from({ length: 2 * layers }, () => floats(rows, keyValueHeads, capacity, headSize)),
      ...projections.flatMap(({ inputs, outputs, parts }) => [floats(adapters, parts * rank, inputs), floats(adapters, parts * rank, outputs)]),
    ];
  }

  #weightsOf(kind: Kind): LanguageModel["weights"] {
    const { weights } = this.#model;
    if (!this.#twice) return weights;
    const other = kind === "decode" ? isServingRows : isBlocks;
    return Object.fromEntries(Object.entries(weights).filter(([name]) => !other(name)));
  }

  #build(kind: Kind, inputs: readonly tf.Tensor[], projections: readonly Projection[]): tf.Tensor[] {
    const { folder } = this.#model;
    const weights = this.#weightsOf(kind);
    if (this.#writesAs(kind)) return this.#buildWriting(weights, inputs, projections);
    const [tokens, positions, ...behind] = inputs;
    const last = kind === "read" ? behind.shift() : null;
    const [slots, ...rest] = behind;
    if (tokens === undefined || positions === undefined || last === undefined || slots === undefined) throw new RangeError("decoding was traced with too few inputs");
    const caches = 2 * folder.config.layers;
    const { logits, own } = extend({ tokens, positions, last, slots, layers: keyValues(rest.slice(0, caches)) }, weights, loraOf(projections, rest.slice(caches)), folder.config);
    if (kind === "read") return [logits, own];
    const { values, indices } = tf.topk(logits, 1);
    return [logits, indices, values, own];
  }

  #buildWriting(weights: LanguageModel["weights"], inputs: readonly tf.Tensor[], projections: readonly Projection[]): tf.Tensor[] {
    const { config } = this.#model.folder;
    const [tokens, lengths, most, ...behind] = inputs;
    if (tokens === undefined || lengths === undefined || most === undefined) throw new RangeError("decoding was traced with too few inputs");
    const kinds = kindsOf(config);
    const tables = pairs(behind.slice(0, 2 * kinds.length));
    const rest = behind.slice(2 * kinds.length);
    const turning = new Map(kinds.flatMap((each, at) => {
      const [cos, sin] = tables[at] ?? [];
      return cos === undefined || sin === undefined ? [] : [[each, { cos, sin }] as const];
    }));
    const caches = 2 * config.layers;
    const { logits, layers } = append(tokens, { lengths, most, turning, layers: keyValues(rest.slice(0, caches)) }, weights, loraOf(projections, rest.slice(caches)), config);
    const { values, indices } = tf.topk(logits, 1);
    return [logits, indices, values, ...layers.flatMap(({ key, value }) => [key, value])];
  }
}

/** Of GroupQueryAttention (ONNX Runtime 1.30): a head, and what turns of it, are multiples of 16. */
const fitsWriting = (c: ModelConfig) => c.headSize % 16 === 0 && kindsOf(c).every((kind) => c.rope[kind].size % 16 === 0);

function pairs(tensors: readonly tf.Tensor[]): (readonly [tf.Tensor, tf.Tensor])[] {
  return Array.from({ length: tensors.length / 2 }, (_, at) => {
    const [one, other] = [tensors[2 * at], tensors[2 * at + 1]];
    if (one === undefined || other === undefined) throw new RangeError("tensors of caches and tables come in pairs");
    return [one, other];
  });
}

const keyValues = (tensors: readonly tf.Tensor[]): KeyValue[] => pairs(tensors).map(([key, value]) => ({ key, value }));

function loraOf(projections: readonly Projection[], tensors: readonly tf.Tensor[]): Lora | null {
  if (projections.length === 0) return null;
  const modules: Record<string, { A: tf.Tensor; B: tf.Tensor }> = {};
  projections.forEach(({ name }, at) => {
    const [A, B] = [tensors[2 * at], tensors[2 * at + 1]];
    if (A === undefined || B === undefined) throw new RangeError("an adapter's tensors come in pairs");
    modules[name] = { A, B };
  });
  return { scale: 1, modules };
}
