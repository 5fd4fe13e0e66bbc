/**
 * What the engine child has to do: generations interleaved, a token each in turn, with loads, unloads and scores in between. Adapters stay as long
 * as a generation uses them. Not responsible for the channel (child.ts) or for how many jobs there may be (the gateway's queue).
 */
import type { Decoder } from "../../../shared/engine/decoder.ts";
import { evaluate } from "../../../shared/engine/evaluate.ts";
import { adapterParameters, signatureOf, toLora, type LanguageModel } from "../../../shared/engine/language_model.ts";
import type { Example } from "../../../shared/engine/pack.ts";
import { createLossFunction, type LossFunction, type Parameter } from "../../../shared/engine/step.ts";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { readAdapter } from "../../../shared/peft/adapter.ts";
import { Generation } from "./generation.ts";
import type { FromChild, ToChild } from "./protocol.ts";

type Of<Type extends ToChild["type"]> = Extract<ToChild, { type: Type }>;


const noAdapter: readonly Parameter[] = [];

interface Loaded {
  readonly parameters: readonly Parameter[];
  users: number;
  /** Ids of `unload` messages that wait for the last user. */
  unloading: string[];
}

export class Jobs {
  readonly #model: LanguageModel;
  readonly #decoder: Decoder;
  readonly #send: (message: FromChild) => void;
  readonly #adapters = new Map<string, Loaded>();
  readonly #running: Generation[] = [];
  /** Loads and scores: done one at a time, between tokens. */
  readonly #errands: { id: string; run: () => Promise<void> }[] = [];
  readonly #losses = new Map<string, Promise<LossFunction>>();
  #busy = false;

  constructor(model: LanguageModel, decoder: Decoder, send: (message: FromChild) => void) {
    this.#model = model;
    this.#decoder = decoder;
    this.#send = send;
  }

  accept(message: ToChild): void {
    switch (message.type) {
      case "load":
        this.#errands.push({ id: message.id, run: () => this.#load(message) });
        break;
      case "score":
        this.#errands.push({ id: message.id, run: () => this.#score(message) });
        break;
      case "unload":
        this.#unload(message);
        break;
      case "abort":
        this.#running.find(({ id }) => id === message.id)?.abort();
        break;
      case "embed":
        this.#fail(message.id, new EverloraError("engine_failed", "This engine has no embedding model.", { param: "EMBEDDING_MODEL" }));
        break;
      case "generate":
        this.#begin(message);
        break;
    }
    this.#work();
  }

  #begin(message: Of<"generate">): void {
    try {
      const adapter = this.#borrow(message.generation);
      this.#running.push(new Generation(message, adapter, this.#model.tokenizer, this.#decoder));
    } catch (error) {
      this.#fail(message.id, error);
    }
  }

  /** One loop for everything, so that no two model steps contend for the cores. */
  #work(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#loop().then(
      () => (this.#busy = false),
      (error: unknown) => {
        this.#busy = false;
        this.#send({ type: "fatal", error: { code: "engine_failed", message: messageOf(error), hint: "The engine is started again." } });
      },
    );
  }

  async #loop(): Promise<void> {
    while (this.#errands.length > 0 || this.#running.length > 0) {
      const errand = this.#errands.shift();
      if (errand !== undefined) await errand.run().catch((error: unknown) => this.#fail(errand.id, error));
      const generation = this.#running.shift();
      if (generation !== undefined) await this.#advance(generation);
    }
  }

  /** One token more; then the generation goes to the back of the line. */
  async #advance(generation: Generation): Promise<void> {
    try {
      const { text, done } = await generation.advance();
      if (text !== "") this.#send({ type: "token", id: generation.id, text });
      if (done === undefined) {
        this.#running.push(generation);
        return;
      }
      this.#send({ type: "done", id: generation.id, ...done });
    } catch (error) {
      this.#fail(generation.id, error);
    }
    this.#giveBack(generation.generation);
  }

  async #load({ id, generation, folder }: Of<"load">): Promise<void> {
    const started = performance.now();
    const present = this.#adapters.get(generation);
    const parameters = present?.parameters ?? adapterParameters(await readAdapter(folder, this.#model.folder.config));
    if (present === undefined) {
      await this.#decoder.warm(parameters);
      this.#adapters.set(generation, { parameters, users: 0, unloading: [] });
    }
    const bytes = parameters.reduce((sum, { values }) => sum + values.byteLength, 0);
    this.#send({ type: "loaded", id, milliseconds: performance.now() - started, bytes });
  }

  #unload({ id, generation }: Of<"unload">): void {
    const loaded = this.#adapters.get(generation);
    if (loaded === undefined) this.#send({ type: "unloaded", id });
    else {
      loaded.unloading.push(id);
      this.#dropIfUnused(generation, loaded);
    }
  }

  async #score({ id, messages, generation }: Of<"score">): Promise<void> {
    const parameters = this.#borrow(generation);
    try {
      const chat = messages.map((message) => ({ role: message.role, content: textOf(message) }));
      const { ids, spoken } = this.#model.tokenizer.conversation(chat);
      const before = this.#model.tokenizer.prompt(chat.slice(0, -1)).length;
      // Only the last answer counts, whatever the assistant said earlier in the conversation.
      const example: Example = { ids, trained: spoken.map((said, at) => said && at >= before) };
      const length = this.#model.folder.config.contextLength;
      if (ids.length > length) throw new EverloraError("context_length_exceeded", `The conversation has ${ids.length} tokens, the model's context ${length}.`);
      const loss = await this.#lossFunction(length, parameters);
      const [result] = await evaluate([example], { rows: 1, length }, (batch) => loss.run(batch, parameters));
      if (result === null || result === undefined || result.tokens === 0) throw new EverloraError("unprocessable", "The reference answer has no tokens to score.", { param: "reference" });
      this.#send({ type: "scored", id, loss: result.loss, tokens: result.tokens });
    } finally {
      this.#giveBack(generation);
    }
  }

  #lossFunction(length: number, parameters: readonly Parameter[]): Promise<LossFunction> {
    const key = `${length} ${signatureOf(parameters)}`;
    const known = this.#losses.get(key);
    if (known !== undefined) return known;
    const { backend, weights, folder, compiled } = this.#model;
    const made = createLossFunction(backend, parameters, (tensors) => ({ weights, lora: toLora(parameters, tensors, 1) }), folder.config, { rows: 1, length }, { ...compiled, key: `${compiled.key} scale 1` });
    this.#losses.set(key, made);
    made.catch(() => this.#losses.delete(key));
    return made;
  }

  #borrow(generation: string | null): readonly Parameter[] {
    if (generation === null) return noAdapter;
    const loaded = this.#adapters.get(generation);
    if (loaded === undefined || loaded.unloading.length > 0) throw new EverloraError("adapter_not_found", `Generation ${generation} is not loaded.`);
    loaded.users++;
    return loaded.parameters;
  }

  #giveBack(generation: string | null): void {
    const loaded = generation === null ? undefined : this.#adapters.get(generation);
    if (generation === null || loaded === undefined) return;
    loaded.users--;
    this.#dropIfUnused(generation, loaded);
  }

  #dropIfUnused(generation: string, loaded: Loaded): void {
    if (loaded.users > 0 || loaded.unloading.length === 0) return;
    this.#adapters.delete(generation);
    for (const id of loaded.unloading) this.#send({ type: "unloaded", id });
  }

  #fail(id: string, error: unknown): void {
    const code = error instanceof EverloraError ? error.code : "engine_failed";
    this.#send({ type: "failed", id, error: { code, message: messageOf(error) } });
  }
}
