/**
 * What the engine child has to do, in one loop so that no two model steps contend for the cores: in each round an errand (a load, a score), pieces of
 * prompts, and one token of every answer, all together. Not responsible for the channel (child.ts), how many jobs there may be (the gateway's
 * queue), or the adapters (loaded.ts).
 */
import { setImmediate as turn } from "node:timers/promises";
import type { Decoder } from "../../../shared/engine/decoder.ts";
import type { Embedder } from "../../../shared/engine/embedder.ts";
import { JsonForms } from "../../../shared/engine/json/constraint.ts";
import type { LanguageModel } from "../../../shared/engine/language_model.ts";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { LoadedAdapters } from "./adapters.ts";
import { Generation, type Piece } from "./generation.ts";
import type { FromChild, ToChild } from "./protocol.ts";
import { Scorer } from "./scorer.ts";

type Of<Type extends ToChild["type"]> = Extract<ToChild, { type: Type }>;

/** Tokens of prompts that are read in one round: as long as that takes, running answers wait. */
const sharedPiece = 128;
/** What a shorter piece counts for: it takes hardly less time than one of this size. */
const leastPiece = 32;
/** The same when nobody waits: larger pieces are read faster, and an abort waits no longer than one. */
const alonePiece = 512;
const statsEveryMs = 1_000;

export interface JobsOptions {
  readonly model: LanguageModel;
  readonly decoder: Decoder;
  /** null: none is set. */
  readonly embedder: Embedder | null;
  readonly send: (this: void, message: FromChild) => void;
}

export class Jobs {
  readonly #options: JobsOptions;
  readonly #adapters: LoadedAdapters;
  readonly #scorer: Scorer;
  readonly #forms: JsonForms;
  /** The one whose prompt is read next comes first. */
  #running: Generation[] = [];
  /** Done one at a time, between tokens. */
  readonly #errands: { id: string; run: () => Promise<void> }[] = [];
  #busy = false;
  #stats = { at: 0, bytes: 0 };

  constructor(options: JobsOptions) {
    const { model, decoder, send } = options;
    this.#options = options;
    this.#adapters = new LoadedAdapters(model, decoder, send);
    this.#scorer = new Scorer(model);
    this.#forms = new JsonForms(() => model.tokenizer.bytes(), model.tokenizer.endTokens);
  }

  accept(message: ToChild): void {
    switch (message.type) {
      case "load":
        this.#errands.push({ id: message.id, run: () => this.#adapters.load(message) });
        break;
      case "score":
        this.#errands.push({ id: message.id, run: () => this.#score(message) });
        break;
      case "embed":
        this.#errands.push({ id: message.id, run: () => this.#embed(message) });
        break;
      case "unload":
        this.#adapters.unload(message);
        break;
      case "abort":
        this.#running.find(({ id }) => id === message.id)?.abort();
        break;
      case "generate":
        this.#begin(message);
        break;
    }
    this.#work();
  }

  #begin(message: Of<"generate">): void {
    const { model, decoder } = this.#options;
    try {
      const adapter = this.#adapters.borrow(message.generation);
      try {
        const format = message.responseFormat ?? null;
        this.#running.push(new Generation(message, adapter, model.tokenizer, decoder, format === null ? null : this.#forms.constraint(format)));
      } catch (error) {
        this.#adapters.giveBack(message.generation);
        throw error;
      }
    } catch (error) {
      this.#fail(message.id, error);
    }
  }

  #work(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#loop().then(
      () => {
        this.#busy = false;
        // What came between the loop's last look and now.
        if (this.#errands.length > 0 || this.#running.length > 0) this.#work();
      },
      (error: unknown) => {
        this.#busy = false;
        this.#options.send({ type: "fatal", error: { code: "engine_failed", message: messageOf(error), hint: "The engine is started again." } });
      },
    );
  }

  async #loop(): Promise<void> {
    while (this.#errands.length > 0 || this.#running.length > 0) {
      await this.#hear();
      for (const generation of this.#running.filter(({ aborted }) => aborted)) this.#end(generation, () => this.#options.send({ type: "done", id: generation.id, ...generation.cancelled() }));
      if (await this.#read()) await this.#hear();
      await this.#step();
      this.#tellStats(false);
    }
    this.#tellStats(true);
  }

  /** What came while the model ran, which without a turn of the event loop would wait for the next run, too; and one errand. */
  async #hear(): Promise<void> {
    await turn();
    const errand = this.#errands.shift();
    if (errand !== undefined) await errand.run().catch((error: unknown) => this.#fail(errand.id, error));
  }

  /**
   * A piece of each prompt that is not read, those that wait longest first, until the round's room for prompts is used up. Who was read goes to the back of
   * the line, so that a long prompt does not keep short ones waiting, and short ones don't wait for a round each.
   * @returns false when there is none
   */
  async #read(): Promise<boolean> {
    const waiting = new Set(this.#running.filter((generation) => generation.reading));
    const some = waiting.size > 0;
    let room = this.#running.length > 1 ? sharedPiece : alonePiece;
    for (const reading of waiting) {
      if (room <= 0) break;
      const together = this.#together(reading, waiting, room);
      for (const each of together) waiting.delete(each);
      this.#running = [...this.#running.filter((other) => !together.includes(other)), ...together];
      const most = Math.min(room, reading.unread);
      room -= Math.max(together.length * most, leastPiece);
      if (together.length === 1 || !(await this.#readAll(together))) for (const each of together) await this.#readPiece(each, most);
    }
    return some;
  }

  /** Whose prompts are read in one run with this one's: no longer ones, so that nobody waits for another's length. */
  #together(reading: Generation, waiting: Iterable<Generation>, room: number): Generation[] {
    const others = [...waiting].filter((other) => other !== reading && other.unread <= reading.unread && reading.canReadWith(other));
    return [reading, ...others.slice(0, Math.max(0, Math.floor(room / reading.unread) - 1))];
  }

  /** @returns false when they have to be read one by one */
  async #readAll(together: readonly Generation[]): Promise<boolean> {
    const takes = await Generation.readAll(this.#options.decoder, together).catch(() => null);
    if (takes === null) return false;
    for (const [at, generation] of together.entries()) {
      const take = takes[at];
      if (take !== undefined) await this.#attempt(generation, async () => this.#tell(generation, take()));
    }
    return true;
  }

  #readPiece(reading: Generation, most: number): Promise<void> {
    return this.#attempt(reading, async () => {
      const piece = await reading.read(most);
      if (piece !== null) this.#tell(reading, piece);
    });
  }

  /** One token of each answer. */
  async #step(): Promise<void> {
    const ready = this.#running.filter(({ reading, aborted }) => !reading && !aborted);
    if (ready.length === 0) return;
    const takes = await this.#advance(ready).catch((error: unknown) => (error instanceof Error ? error : new Error(messageOf(error))));
    if (!(takes instanceof Error)) {
      for (const [at, generation] of ready.entries()) {
        const take = takes[at];
        if (take !== undefined) await this.#attempt(generation, async () => this.#tell(generation, take()));
      }
      return;
    }
    // Nothing has changed when a batch fails: alone, those whose fault it isn't go on.
    for (const generation of ready) {
      await this.#attempt(generation, async () => {
        if (ready.length === 1) throw takes;
        const [take] = await this.#advance([generation]);
        if (take !== undefined) this.#tell(generation, take());
      });
    }
  }

  /** Appends the tokens that they have drawn. @returns for each, what draws the next: logits are handed over only where somebody looks at them */
  async #advance(generations: readonly Generation[]): Promise<(() => Piece)[]> {
    const next = generations.map((generation) => generation.next);
    const { decoder } = this.#options;
    const draws = generations.every(({ greedy }) => greedy)
      ? (await decoder.likeliestAll(next)).map((found) => (generation: Generation) => generation.takeLikeliest(found))
      : (await decoder.stepAll(next)).map((logits) => (generation: Generation) => generation.take(logits));
    return generations.map((generation, at) => () => {
      const draw = draws[at];
      if (draw === undefined) throw new Error("a step left out an answer");
      return draw(generation);
    });
  }

  /** What goes wrong with one answer ends that answer. */
  async #attempt(generation: Generation, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#end(generation, () => this.#fail(generation.id, error));
    }
  }

  #tell(generation: Generation, { text, logprobs, done }: Piece): void {
    const { send } = this.#options;
    if (text !== "" || logprobs.length > 0) send({ type: "token", id: generation.id, text, ...(logprobs.length === 0 ? {} : { logprobs: [...logprobs] }) });
    if (done !== undefined) this.#end(generation, () => send({ type: "done", id: generation.id, ...done }));
  }

  /** Frees what it held before anybody is told: the next request may come at once. */
  #end(generation: Generation, tell: () => void): void {
    this.#running = this.#running.filter((other) => other !== generation);
    generation.close();
    tell();
    this.#adapters.giveBack(generation.generation);
  }

  async #score({ id, messages, generation }: Of<"score">): Promise<void> {
    const parameters = this.#adapters.borrow(generation);
    try {
      this.#options.send({ type: "scored", id, ...(await this.#scorer.score(messages, parameters)) });
    } finally {
      this.#adapters.giveBack(generation);
    }
  }

  async #embed({ id, texts }: Of<"embed">): Promise<void> {
    const { embedder, send } = this.#options;
    if (embedder === null) throw new EverloraError("engine_failed", "This engine has no embedding model.", { param: "EMBEDDING_MODEL", hint: "Set EMBEDDING_MODEL to the folder of a sentence-embedding model." });
    const vectors = await embedder.embed(texts);
    send({ type: "embedded", id, vectors: vectors.map((vector) => [...vector]), dimension: embedder.dimension, tokens: embedder.count(texts) });
  }

  /** @param last nothing follows: what has changed is told now or never */
  #tellStats(last: boolean): void {
    const { bytes, entries } = this.#options.decoder.prefixes;
    const now = performance.now();
    if (bytes === this.#stats.bytes || (!last && now - this.#stats.at < statsEveryMs)) return;
    this.#stats = { at: now, bytes };
    this.#options.send({ type: "stats", prefixBytes: bytes, prefixEntries: entries });
  }

  #fail(id: string, error: unknown): void {
    this.#options.send({ type: "failed", id, error: failureOf(error) });
  }
}

/** Memory that ran out says so in many words: Node's for arrays, ONNX Runtime's for what a step needs. */
const outOfMemory = /array buffer allocation failed|invalid array length|bad_alloc|failed to allocate memory|out of memory/i;

function failureOf(error: unknown): Extract<FromChild, { type: "failed" }>["error"] {
  const message = messageOf(error);
  if (error instanceof EverloraError) return { code: error.code, message, param: error.param, hint: error.hint };
  return { code: "engine_failed", message: outOfMemory.test(message) ? `There is not enough memory for this answer: ${message}. Shorten it, lower ENGINE_CONCURRENCY or ENGINE_PREFIX_MEMORY, or give the machine more.` : message };
}
