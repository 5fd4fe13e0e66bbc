/**
 * The compiled functions of decoding, each made once and used for every batch, cache and prompt: one reads a piece of one prompt, one decodes a token of
 * each row; of each there is one without adapters and one for each set of projections that adapters lie on.
 */
import type { Lora } from "../models/linear.ts";
import { isBlocks, isServingRows } from "../models/quantise.ts";
import type * as tf from "../models/tfjs.ts";
import { OnnxBackend } from "../tensor/backend.ts";
import { compile, type Compiled, type InputSpec } from "../tensor/compile.ts";
import { kernelsOf } from "../tensor/kernels/table.ts";
import type { Projection } from "./adapter_rows.ts";
import { fitsWriting, handing, pairs, writing, type CacheUse, type Kind, type Sizes } from "./cache_use.ts";
import type { LanguageModel } from "./language_model.ts";

/** From so many rows on, products by 8-bit rows cost less than by 4-bit blocks: 6.2 ms against 8.1 for two rows of SmolLM2's shape on one thread, 5.9 against 5.3 for one. */
const leastWide = 2;

/** Bytes of float32 weights that each graph may have a copy of. */
const mostPacked = 64 * 2 ** 20;

/** Adapters: as many as rows, each row its own; where prompts are read also one for all of them. */
interface AllSizes extends Sizes {
  readonly adapters: number;
  readonly rank: number;
}

/** Any sizes would do as long as they differ: primes are equal to no other size by chance. Where prompts are read, each adapter has as many of the rows. */
const decodeSizes: readonly [AllSizes, AllSizes] = [
  { rows: 131, length: 1, capacity: 137, positions: 163, adapters: 131, rank: 139 },
  { rows: 149, length: 1, capacity: 151, positions: 167, adapters: 149, rank: 157 },
];
const sizes: Readonly<Record<Kind, readonly [AllSizes, AllSizes]>> = {
  read: [
    { rows: 15, length: 101, capacity: 103, positions: 163, adapters: 5, rank: 107 },
    { rows: 33, length: 109, capacity: 113, positions: 167, adapters: 11, rank: 127 },
  ],
  decode: decodeSizes,
  batch: decodeSizes,
};

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
  readonly #use: CacheUse;

  constructor(model: LanguageModel) {
    this.#model = model;
    const { backend } = model;
    this.#use = backend instanceof OnnxBackend && "CachedAttention" in kernelsOf(backend.device) && fitsWriting(model.folder.config) ? writing : handing;
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

  /** Attention writes keys and values into the cache, and nobody else need do so. */
  get writes(): boolean {
    return this.#use === writing;
  }

  /** Inputs: as cache_use.ts has them, then A and B of each projection. Outputs: as there. */
  get(kind: Kind, projections: readonly Projection[]): Promise<Compiled> {
    const key = this.#keyOf(kind, projections);
    const known = this.#graphs.get(key);
    if (known !== undefined) return known;
    const [first, second] = sizes[kind];
    const { compiled, folder } = this.#model;
    const inPlace = this.#use.inPlace(kind, folder.config);
    const made = compile(this.#model.backend, this.#specs(kind, first, projections), (...inputs) => this.#build(kind, inputs, projections), this.#specs(kind, second, projections), {
      cache: { ...compiled, key: JSON.stringify([compiled.key, folder.config, kind, projections]) },
      prepack: this.#packs,
      ...(inPlace === undefined ? {} : { inPlace }),
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

  #specs(kind: Kind, sizes: AllSizes, projections: readonly Projection[]): InputSpec[] {
    const floats = (...shape: number[]): InputSpec => ({ shape, dtype: "float32" });
    const { adapters, rank } = sizes;
    return [...this.#use.specs(kind, sizes, this.#model.folder.config), ...projections.flatMap(({ inputs, outputs, parts }) => [floats(adapters, parts * rank, inputs), floats(adapters, parts * rank, outputs)])];
  }

  #weightsOf(kind: Kind): LanguageModel["weights"] {
    const { weights } = this.#model;
    if (!this.#twice) return weights;
    const other = kind === "decode" ? isServingRows : isBlocks;
    return Object.fromEntries(Object.entries(weights).filter(([name]) => !other(name)));
  }

  #build(kind: Kind, inputs: readonly tf.Tensor[], projections: readonly Projection[]): tf.Tensor[] {
    const before = inputs.length - 2 * projections.length;
    return this.#use.build(kind, inputs.slice(0, before), this.#weightsOf(kind), loraOf(projections, inputs.slice(before)), this.#model.folder.config);
  }
}

function loraOf(projections: readonly Projection[], tensors: readonly tf.Tensor[]): Lora | null {
  if (projections.length === 0) return null;
  const parts = pairs(tensors);
  return { scale: 1, modules: Object.fromEntries(projections.map(({ name }, at) => [name, parts[at] === undefined ? undefined : { A: parts[at][0], B: parts[at][1] }])) };
}
