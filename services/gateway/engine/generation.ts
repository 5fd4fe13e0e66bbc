/** One answer being generated: its sequence, its sampler and its text. Advanced a token at a time by jobs.ts. */
import type { Decoder, Sequence } from "../../../shared/engine/decoder.ts";
import { sample } from "../../../shared/engine/sampler.ts";
import type { Parameter } from "../../../shared/engine/step.ts";
import { TextStream } from "../../../shared/engine/text_stream.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { createRandom, type Random } from "../../../shared/models/random.ts";
import type { Tokenizer } from "../../../shared/tokenizer/tokenizer.ts";
import type { FromChild, ToChild } from "./protocol.ts";

type Request = Extract<ToChild, { type: "generate" }>;
type Done = Omit<Extract<FromChild, { type: "done" }>, "type" | "id">;

export class Generation {
  readonly id: string;
  readonly generation: string | null;
  readonly #request: Request;
  readonly #adapter: readonly Parameter[];
  readonly #tokenizer: Tokenizer;
  readonly #decoder: Decoder;
  readonly #random: Random;
  readonly #text: TextStream;
  readonly #prompt: readonly number[];
  #sequence: Sequence | undefined;
  #logits: Float32Array | undefined;
  #completionTokens = 0;
  #aborted = false;

  constructor(request: Request, adapter: readonly Parameter[], tokenizer: Tokenizer, decoder: Decoder) {
    this.id = request.id;
    this.generation = request.generation;
    this.#request = request;
    this.#adapter = adapter;
    this.#tokenizer = tokenizer;
    this.#decoder = decoder;
    // Its own generator, so that what runs beside it can't change the answer.
    this.#random = createRandom(request.seed ?? Math.floor(performance.now() * 1000) ^ process.pid);
    this.#text = new TextStream((ids) => tokenizer.decode(ids), request.stop);
    this.#prompt = request.messages === undefined ? tokenizer.encode(request.prompt ?? "") : tokenizer.prompt(request.messages.map((message) => ({ role: message.role, content: textOf(message) })));
  }

  abort(): void {
    this.#aborted = true;
  }

  /** The prompt at first, then one token a call. @returns text that may be shown, and how it ended if it did */
  async advance(): Promise<{ text: string; done?: Done }> {
    if (this.#aborted) return { text: "", done: this.#done("abort") };
    if (this.#sequence === undefined || this.#logits === undefined) {
      const { sequence, logits } = await this.#decoder.start(this.#prompt, this.#adapter);
      this.#sequence = sequence;
      this.#logits = logits;
    }
    const token = sample(this.#logits, this.#request, this.#random);
    if (this.#tokenizer.endTokens.includes(token)) return { text: this.#text.end(), done: this.#done("stop") };
    this.#completionTokens++;
    const text = this.#text.push(token);
    if (this.#text.stopped) return { text, done: this.#done("stop") };
    const room = Math.min(this.#request.maxTokens, this.#decoder.contextLength - this.#prompt.length);
    if (this.#completionTokens >= room) return { text: text + this.#text.end(), done: this.#done("length") };
    this.#logits = await this.#decoder.step(this.#sequence, token);
    return { text };
  }

  #done(finishReason: Done["finishReason"]): Done {
    return { finishReason, promptTokens: this.#prompt.length, completionTokens: this.#completionTokens, cachedTokens: 0 };
  }
}
