/**
 * Prompt → tokens with a key/value cache. Graphs are compiled for a few lengths and capacities and shared by all adapters of one shape;
 * adapters are inputs, so switching them costs nothing. The cache's arrays belong to the sequence and are written in place.
 */
import { EverloraError } from "../errors/errors.ts";
import type { KeyValue } from "../models/attention.ts";
import { decode, prefill } from "../models/decode.ts";
import type { Tensor } from "../models/tfjs.ts";
import { compile, type Compiled, type InputSpec } from "../tensor/compile.ts";
import { signatureOf, toLora, type LanguageModel } from "./language_model.ts";
import type { Parameter } from "./step.ts";

/** Sequence lengths and cache capacities that graphs are compiled for: powers of 4 from 64, up to the context. */
export function bucketsOf(contextLength: number): number[] {
  const buckets: number[] = [];
  for (let size = 64; size < contextLength; size *= 4) buckets.push(size);
  return [...buckets, contextLength];
}

export interface Sequence {
  readonly adapter: readonly Parameter[];
  /** Positions that the cache holds. */
  length: number;
  capacity: number;
  /** Per layer keys, values; [K, C, S] each. */
  cache: Float32Array[];
}

export class Decoder {
  readonly #model: LanguageModel;
  readonly #buckets: readonly number[];
  readonly #graphs = new Map<string, Promise<Compiled>>();

  constructor(model: LanguageModel) {
    this.#model = model;
    this.#buckets = bucketsOf(model.folder.config.contextLength);
  }

  get contextLength(): number {
    return this.#model.folder.config.contextLength;
  }

  /** Reads a prompt. @returns the sequence and the logits [V] after its last token @throws EverloraError context_length_exceeded */
  async start(prompt: readonly number[], adapter: readonly Parameter[]): Promise<{ sequence: Sequence; logits: Float32Array }> {
    if (prompt.length === 0) throw new EverloraError("invalid_request", "The prompt has no tokens.");
    if (prompt.length >= this.contextLength) throw new EverloraError("context_length_exceeded", `The prompt has ${prompt.length} tokens; the model's context of ${this.contextLength} leaves no room for an answer.`);
    const { config } = this.#model.folder;
    const length = this.#bucket(prompt.length);
    const tokens = new Int32Array(length);
    tokens.set(prompt);
    const graph = await this.#prefillGraph(length, adapter);
    const [logits, ...cache] = await graph.run([tokens, Int32Array.of(prompt.length - 1), ...adapter.map(({ values }) => values)]);
    const sequence: Sequence = { adapter, length: prompt.length, capacity: length, cache: cache as Float32Array[] };
    if (cache.length !== 2 * config.layers) throw new Error("the prefill graph returned another number of caches than layers");
    return { sequence, logits: logits as Float32Array };
  }

  /** Appends one token. @returns the logits [V] after it @throws EverloraError context_length_exceeded when the context is full */
  async step(sequence: Sequence, token: number): Promise<Float32Array> {
    if (sequence.length >= this.contextLength) throw new EverloraError("context_length_exceeded", `The context of ${this.contextLength} positions is full.`);
    if (sequence.length >= sequence.capacity) this.#grow(sequence, this.#bucket(sequence.length + 1));
    const graph = await this.#decodeGraph(sequence.capacity, sequence.adapter);
    const [logits, ...rows] = await graph.run([Int32Array.of(token), Int32Array.of(sequence.length), ...sequence.cache, ...sequence.adapter.map(({ values }) => values)]);
    this.#append(sequence, rows as Float32Array[]);
    return logits as Float32Array;
  }

  /** Compiles what a first answer will need, so that it does not wait. */
  async warm(adapter: readonly Parameter[]): Promise<void> {
    const [small = this.contextLength, medium = small] = this.#buckets;
    const { sequence } = await this.start([0, 0], adapter);
    await this.step(sequence, 0);
    await this.#prefillGraph(medium, adapter);
    await this.#decodeGraph(medium, adapter);
  }

  #bucket(length: number): number {
    return this.#buckets.find((size) => size >= length) ?? this.contextLength;
  }

  /** New keys and values [K, 1, S] go behind the filled positions of their layer's arrays [K, C, S]. */
  #append(sequence: Sequence, rows: readonly Float32Array[]): void {
    const { headSize, keyValueHeads } = this.#model.folder.config;
    rows.forEach((row, at) => {
      for (let head = 0; head < keyValueHeads; head++) {
        sequence.cache[at]?.set(row.subarray(head * headSize, (head + 1) * headSize), (head * sequence.capacity + sequence.length) * headSize);
      }
    });
    sequence.length++;
  }

  #grow(sequence: Sequence, capacity: number): void {
    const { headSize, keyValueHeads } = this.#model.folder.config;
    sequence.cache = sequence.cache.map((old) => {
      const larger = new Float32Array(keyValueHeads * capacity * headSize);
      for (let head = 0; head < keyValueHeads; head++) larger.set(old.subarray(head * sequence.capacity * headSize, (head * sequence.capacity + sequence.length) * headSize), head * capacity * headSize);
      return larger;
    });
    sequence.capacity = capacity;
  }

  #prefillGraph(length: number, adapter: readonly Parameter[]): Promise<Compiled> {
    const specs: InputSpec[] = [
      { shape: [1, length], dtype: "int32" },
      { shape: [1], dtype: "int32" },
    ];
    return this.#graph(`prefill ${length}`, specs, adapter, ([tokens, last], lora) => {
      if (tokens === undefined || last === undefined) throw new RangeError("prefill was traced with too few inputs");
      return prefill(tokens, last, this.#model.weights, toLora(adapter, lora, 1), this.#model.folder.config);
    });
  }

  #decodeGraph(capacity: number, adapter: readonly Parameter[]): Promise<Compiled> {
    const { config } = this.#model.folder;
    const cacheSpec: InputSpec = { shape: [1, config.keyValueHeads, capacity, config.headSize], dtype: "float32" };
    const specs: InputSpec[] = [{ shape: [1, 1], dtype: "int32" }, { shape: [1, 1], dtype: "int32" }, ...Array.from({ length: 2 * config.layers }, () => cacheSpec)];
    return this.#graph(`decode ${capacity}`, specs, adapter, ([token, position, ...cache], lora) => {
      if (token === undefined || position === undefined) throw new RangeError("decode was traced with too few inputs");
      return decode(token, position, pairs(cache), this.#model.weights, toLora(adapter, lora, 1), config);
    });
  }

  #graph(name: string, specs: readonly InputSpec[], adapter: readonly Parameter[], build: (inputs: readonly Tensor[], lora: readonly Tensor[]) => { logits: Tensor; cache: readonly KeyValue[] }): Promise<Compiled> {
    const key = `${name} ${signatureOf(adapter)}`;
    const known = this.#graphs.get(key);
    if (known !== undefined) return known;
    const loraSpecs = adapter.map(({ shape }): InputSpec => ({ shape, dtype: "float32" }));
    const made = compile(this.#model.backend, [...specs, ...loraSpecs], (...inputs) => {
      const { logits, cache } = build(inputs.slice(0, specs.length), inputs.slice(specs.length));
      return [logits, ...cache.flatMap(({ key: keys, value }) => [keys, value])];
    });
    this.#graphs.set(key, made);
    made.catch(() => this.#graphs.delete(key));
    return made;
  }
}

function pairs(cache: readonly Tensor[]): KeyValue[] {
  return Array.from({ length: cache.length / 2 }, (_, layer) => {
    const [key, value] = [cache[2 * layer], cache[2 * layer + 1]];
    if (key === undefined || value === undefined) throw new RangeError("the cache's tensors come in pairs");
    return { key, value };
  });
}
