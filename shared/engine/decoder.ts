/**
 * Prompts → tokens with a key/value cache, for any number of sequences at once, each with an adapter of its own or none. Sequences join and leave
 * between any two tokens. What a prompt shares with an earlier one of the same adapter is not computed again. Not responsible for: which token is
 * taken (sampler.ts), or whose turn it is (the engine child's jobs).
 */
import { EverloraError } from "../errors/errors.ts";
import type { Sized } from "../tensor/compile.ts";
import type { TypedArray } from "../tensor/graph.ts";
import { toRowAdapter, type RowAdapter } from "./adapter_rows.ts";
import { Batches, type Batch } from "./batches.ts";
import { firstCache, outputs } from "./cache_use.ts";
import { DecodeGraphs } from "./decode_graphs.ts";
import type { KeyValueRows } from "./key_value_rows.ts";
import type { LanguageModel } from "./language_model.ts";
import { blockLength, PrefixCache } from "./prefix_cache.ts";
import { asRow, Row, type Sequence } from "./row.ts";
import type { Parameter } from "./step.ts";
import { Turning } from "./turning.ts";

export type { Sequence } from "./row.ts";

/** Most tokens of a prompt that are read at once. */
const longestPiece = 512;
/** Prompts up to this length are read together: they are padded to the longest, and each weight is fetched once for all. */
const shortPrompt = 64;
/** The arrays of no adapter. */
const none: readonly Sized[] = [];

/** Positions that a cache has at least behind a prompt. */
const firstRoom = 128;

export interface DecoderOptions {
  /** Bytes of keys and values kept for prompts that begin the same. Default: none. */
  readonly prefixBytes?: number;
}

/** One sequence to go on with, and the token to append. */
export interface Next {
  readonly sequence: Sequence;
  readonly token: number;
}

/** A row's likeliest token. */
export interface Likeliest {
  readonly token: number;
  readonly logit: number;
}

export class Decoder {
  readonly #model: LanguageModel;
  readonly #graphs: DecodeGraphs;
  readonly #prefixes: PrefixCache;
  readonly #batches: Batches;
  readonly #adapters = new WeakMap<readonly Parameter[], RowAdapter>();
  readonly #slots: Int32Array;
  readonly #turning: Turning;
  #roots = 0;
  readonly #names = new WeakMap<readonly Parameter[], string>();

  constructor(model: LanguageModel, options: DecoderOptions = {}) {
    this.#model = model;
    this.#graphs = new DecodeGraphs(model);
    this.#prefixes = new PrefixCache(options.prefixBytes ?? 0);
    this.#batches = new Batches(model.folder.config);
    this.#turning = new Turning(model.folder.config);
    this.#slots = Int32Array.from({ length: this.contextLength + 64 }, (_, at) => at);
  }

  get contextLength(): number {
    return this.#model.folder.config.contextLength;
  }

  /** What is kept for prompts to come. */
  get prefixes(): { readonly bytes: number; readonly entries: number } {
    return this.#prefixes;
  }

  /**
   * A sequence of which nothing is computed yet. Must be closed.
   * @param adapter A and B of each projection as `adapterParameters` gives them, empty for none: the same array for every sequence of a generation
   * @throws EverloraError context_length_exceeded, invalid_request
   */
  open(prompt: readonly number[], adapter: readonly Parameter[]): Sequence {
    if (prompt.length === 0) throw new EverloraError("invalid_request", "The prompt has no tokens.");
    if (prompt.length >= this.contextLength) throw new EverloraError("context_length_exceeded", `The prompt has ${prompt.length} tokens; the model's context of ${this.contextLength} leaves no room for an answer.`);
    // Where positions that nobody looks at cost nothing, an answer begins with room for some tokens.
    const room = this.#graphs.writes ? firstRoom : 1;
    return new Row(prompt, this.#rowAdapter(adapter), this.#rootOf(adapter), this.#batches.pool.take(Math.min(prompt.length + room, this.contextLength)));
  }

  /**
   * Reads the next tokens of the prompt, after taking what is known already.
   * @param most tokens to compute
   * @returns logits [V] once the prompt has been read to its end
   */
  async read(sequence: Sequence, most = longestPiece): Promise<Float32Array | null> {
    const row = asRow(sequence);
    this.#reuse(row);
    const from = row.length;
    const length = Math.min(most, longestPiece, row.promptLength - from);
    if (length <= 0) throw new RangeError("the prompt has been read already");
    const [logits = null] = await this.#readPieces([row], from, [length], { store: row.store, first: row.row });
    return row.length < row.promptLength ? null : logits;
  }

  /** Whether `readAll` may be given both: short prompts of one adapter, of which nothing is known yet. */
  canReadTogether(one: Sequence, other: Sequence): boolean {
    const [a, b] = [asRow(one), asRow(other)];
    return a.adapter === b.adapter && [a, b].every((row) => row.length === 0 && row.promptLength <= shortPrompt && !this.#isKnown(row));
  }

  /**
   * Reads whole prompts in one run, each pair of which `canReadTogether`. Nothing has changed when it throws.
   * @returns logits [V] after the last token of each
   */
  async readAll(sequences: readonly Sequence[]): Promise<Float32Array[]> {
    const rows = sequences.map(asRow);
    const lengths = rows.map(({ promptLength }) => promptLength);
    // None looks back at anything: they are at their beginning.
    const shared = this.#batches.pool.take(this.#graphs.writes ? Math.max(...lengths) : 1);
    shared.add(rows.length);
    try {
      return await this.#readPieces(rows, 0, lengths, { store: shared, first: 0 });
    } finally {
      while (shared.count > 0) shared.remove(shared.count - 1, 0);
      this.#batches.pool.giveBack(shared);
    }
  }

  /**
   * @param rows of one adapter, each of which has read `from` tokens
   * @param lengths of the pieces; behind a shorter one stand zeros, which nothing looks back at
   * @param cache where the rows lie side by side: for one row its own
   */
  async #readPieces(rows: readonly Row[], from: number, lengths: readonly number[], { store, first }: { readonly store: KeyValueRows; readonly first: number }): Promise<Float32Array[]> {
    const { adapter } = rows[0] ?? { adapter: null };
    const [count, width] = [rows.length, Math.max(...lengths)];
    const graph = await this.#graphs.get("read", adapter?.projections ?? []);
    const tokens: Sized = { values: Int32Array.from(rows.flatMap(({ tokens: own }, at) => Array.from({ length: width }, (_, place) => (place < (lengths[at] ?? 0) ? (own[from + place] ?? 0) : 0)))), shape: [count, width] };
    const last: Sized = { values: Int32Array.from(lengths, (length, at) => at * width + length - 1), shape: [count] };
    const caches = store.inputs(first, first + count);
    const [logits, own] = this.#graphs.writes
      ? await graph.run([tokens, ...this.#places(lengths.map((length) => from + length - 1), from + width), last, this.#turning.upTo(from + width), caches, adapter?.inputs ?? none], [outputs.logits])
      : await graph.run([tokens, { values: Int32Array.from({ length: count * width }, (_, at) => from + (at % width)), shape: [count, width] }, last, this.#slotsOf(store), caches, adapter?.inputs ?? none]);
    const { vocabSize } = this.#model.folder.config;
    return rows.map((row, at) => {
      const length = lengths[at] ?? 0;
      if (own !== undefined) row.store.write(row.row, from, own as Float32Array, at, width, length);
      else if (store !== row.store) store.copy(first + at, length, row.store, row.row);
      row.length += length;
      this.#keep(row);
      return (logits as Float32Array).subarray(at * vocabSize, (at + 1) * vocabSize);
    });
  }

  /** Where attention is to write: the position of each row's last token, and the largest of them and one. */
  #places(lasts: readonly number[], most: number): Sized[] {
    return [
      { values: Int32Array.from(lasts), shape: [lasts.length] },
      { values: Int32Array.of(most), shape: [1] },
    ];
  }

  #slotsOf({ capacity }: KeyValueRows): Sized {
    return { values: this.#slots.subarray(0, capacity), shape: [1, capacity] };
  }

  /** Reads a whole prompt. @returns the sequence and the logits [V] after its last token */
  async start(prompt: readonly number[], adapter: readonly Parameter[]): Promise<{ sequence: Sequence; logits: Float32Array }> {
    const sequence = this.open(prompt, adapter);
    for (;;) {
      const logits = await this.read(sequence);
      if (logits !== null) return { sequence, logits };
    }
  }

  /** Appends one token. @returns the logits [V] after it @throws EverloraError context_length_exceeded when the context is full */
  async step(sequence: Sequence, token: number): Promise<Float32Array> {
    const [logits] = await this.stepAll([{ sequence, token }]);
    if (logits === undefined) throw new Error("a step gave no logits");
    return logits;
  }

  /**
   * Appends one token to each of several sequences whose prompts have been read. Nothing has changed when it throws.
   * @returns their logits [V] in the same order
   */
  async stepAll(next: readonly Next[]): Promise<Float32Array[]> {
    const { vocabSize } = this.#model.folder.config;
    return this.#step(next, [outputs.logits], ([logits], at) => (logits as Float32Array).subarray(at * vocabSize, (at + 1) * vocabSize));
  }

  /**
   * As stepAll, where the likeliest token is all that is wanted: it is found by the graph, and no logits are copied.
   * @returns token and logit, which is no number where the model computes none
   */
  async likeliestAll(next: readonly Next[]): Promise<Likeliest[]> {
    return this.#step(next, [outputs.likeliest, outputs.logit], ([token, logit], at) => ({ token: Number(token?.[at]), logit: Number(logit?.[at]) }));
  }

  async #step<T>(next: readonly Next[], wanted: readonly number[], of: (given: readonly TypedArray[], row: number) => T): Promise<T[]> {
    const tokens = new Map(next.map(({ sequence, token }) => [asRow(sequence), token]));
    for (const row of tokens.keys()) if (row.length >= this.contextLength) throw new EverloraError("context_length_exceeded", `The context of ${this.contextLength} positions is full.`);
    for (const row of tokens.keys()) this.#batches.join(row);
    const made = new Map<Row, T>();
    for (const batch of this.#batches.values()) {
      if (batch.rows.some((row) => tokens.has(row))) await this.#stepBatch(batch, tokens, wanted, (given, at, row) => made.set(row, of(given, at)));
    }
    return next.map(({ sequence }) => {
      const one = made.get(asRow(sequence));
      if (one === undefined) throw new Error("a step left out a sequence");
      return one;
    });
  }

  /** Frees a sequence's memory. What it computed stays for prompts that begin the same, as far as there is room. */
  close(sequence: Sequence): void {
    const row = asRow(sequence);
    if (row.closed) return;
    row.closed = true;
    this.#keep(row);
    this.#batches.close(row);
  }

  /** Drops what an adapter computed for prompts to come. */
  forget(adapter: readonly Parameter[]): void {
    this.#prefixes.forget(this.#rootOf(adapter));
  }

  /** Makes what a first answer will need, so that it does not wait: graphs fit adapters of any rank, so most have theirs already and nothing is run. */
  async warm(adapter: readonly Parameter[]): Promise<void> {
    const { projections = [] } = this.#rowAdapter(adapter) ?? {};
    if (this.#graphs.kinds.every((kind) => this.#graphs.has(kind, projections))) return;
    const { sequence } = await this.start([0, 0], adapter);
    try {
      await this.step(sequence, 0);
    } finally {
      this.close(sequence);
    }
    for (const kind of this.#graphs.kinds) await this.#graphs.get(kind, projections);
  }

  async #stepBatch({ store, rows, adapters }: Batch, tokens: ReadonlyMap<Row, number>, wanted: readonly number[], tell: (given: readonly TypedArray[], at: number, row: Row) => void): Promise<void> {
    // Rows behind the last that has a token are left out; one in between is computed and not looked at.
    const count = rows.findLastIndex((row) => tokens.has(row)) + 1;
    const running = rows.slice(0, count);
    const { writes } = this.#graphs;
    // Where attention writes into the cache, it does so behind a row that is not looked at, too.
    const most = Math.max(...running.map((row) => (writes || tokens.has(row) ? row.length + 1 : 0)));
    store.reserve(most, this.contextLength);
    const { projections, inputs } = adapters.of(running.map(({ adapter }) => adapter));
    const graph = await this.#graphs.get(this.#graphs.decoding(count), projections);
    const read: Sized = { values: Int32Array.from(running, (row) => tokens.get(row) ?? 0), shape: [count, 1] };
    const lengths = running.map((row) => row.length);
    const caches = store.inputs(0, count);
    const given = writes
      ? await graph.run([read, ...this.#places(lengths, most), this.#turning.upTo(most), caches, inputs], wanted)
      : await graph.run([read, { values: Int32Array.from(lengths), shape: [count, 1] }, this.#slotsOf(store), caches, inputs], [...wanted, firstCache("decode")]);
    const own = writes ? null : (given.at(-1) as Float32Array);
    running.forEach((row, at) => {
      const token = tokens.get(row);
      if (token === undefined) return;
      if (own !== null) store.write(at, row.length, own, at, 1);
      row.tokens.push(token);
      row.length++;
      tell(given, at, row);
    });
  }

  /** Takes blocks that are known; one token at least is left to compute, because its logits are wanted. */
  #reuse(row: Row): void {
    if (!this.#prefixes.enabled || row.length % blockLength !== 0) return;
    const chain = this.#chain(row, Math.ceil(row.promptLength / blockLength) - 1);
    let taken = false;
    for (let at = row.length / blockLength; at < chain.length; at++) {
      const values = this.#prefixes.get(chain[at] ?? "");
      if (values === undefined) break;
      row.store.put(row.row, row.length, row.length + blockLength, values);
      row.length += blockLength;
      row.reused += blockLength;
      taken = true;
    }
    if (taken) this.#prefixes.touch(chain);
  }

  /** Whether an earlier prompt has computed its beginning. */
  #isKnown(row: Row): boolean {
    const [first] = this.#prefixes.enabled ? this.#chain(row, Math.min(1, Math.ceil(row.promptLength / blockLength) - 1)) : [];
    return first !== undefined && this.#prefixes.has(first);
  }

  /** Keeps the filled blocks. */
  #keep(row: Row): void {
    if (!this.#prefixes.enabled) return;
    const chain = this.#chain(row, Math.floor(row.length / blockLength));
    chain.forEach((key, at) => {
      if (!this.#prefixes.has(key)) this.#prefixes.put(row.root, key, row.store.take(row.row, at * blockLength, (at + 1) * blockLength));
    });
    this.#prefixes.touch(chain);
  }

  /** The names of a sequence's first blocks. */
  #chain(row: Row, blocks: number): string[] {
    for (let at = row.chain.length; at < blocks; at++) row.chain.push(PrefixCache.key(row.chain[at - 1] ?? row.root, row.tokens.slice(at * blockLength, (at + 1) * blockLength)));
    return row.chain.slice(0, blocks);
  }

  #rowAdapter(parameters: readonly Parameter[]): RowAdapter | null {
    const made = this.#adapters.get(parameters) ?? toRowAdapter(parameters, this.#model.folder.config);
    if (made !== null) this.#adapters.set(parameters, made);
    return made;
  }

  /** What computed the values: this process has one base, and an adapter's arrays are never those of another. */
  #rootOf(parameters: readonly Parameter[]): string {
    if (parameters.length === 0) return "base";
    const name = this.#names.get(parameters) ?? `adapter ${++this.#roots}`;
    this.#names.set(parameters, name);
    return name;
  }
}
