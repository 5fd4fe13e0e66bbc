/**
 * One answer being generated: its sequence, what shapes its draws, and its text. Not responsible for when it is advanced, or with whom together (jobs.ts).
 */
import type { Decoder, Likeliest, Next, Sequence } from "../../../shared/engine/decoder.ts";
import type { JsonConstraint } from "../../../shared/engine/json/constraint.ts";
import { scoreToken } from "../../../shared/engine/logprobs.ts";
import { Penalties } from "../../../shared/engine/penalties.ts";
import { checked, sample } from "../../../shared/engine/sampler.ts";
import type { Parameter } from "../../../shared/engine/step.ts";
import { TextStream } from "../../../shared/engine/text_stream.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { createRandom, type Random } from "../../../shared/models/random.ts";
import type { Tokenizer } from "../../../shared/tokenizer/tokenizer.ts";
import type { FromChild, TokenLogprob, ToChild } from "./protocol.ts";

export type GenerateMessage = Extract<ToChild, { type: "generate" }>;
type Done = Omit<Extract<FromChild, { type: "done" }>, "type" | "id">;

/** What a token brought. */
export interface Piece {
  /** Text that may be shown now; often the token's own, sometimes "" or more. */
  readonly text: string;
  /** Of the tokens whose text this is, where they were asked for. */
  readonly logprobs: readonly TokenLogprob[];
  readonly done?: Done;
}

export class Generation {
  readonly id: string;
  readonly generation: string | null;
  readonly #request: GenerateMessage;
  readonly #tokenizer: Tokenizer;
  readonly #decoder: Decoder;
  readonly #random: Random;
  readonly #text: TextStream;
  readonly #penalties: Penalties;
  readonly #constraint: JsonConstraint | null;
  readonly #promptTokens: number;
  readonly #sequence: Sequence;
  /** Of tokens whose text has not been shown. */
  #held: TokenLogprob[] = [];
  #token: number | undefined;
  #completionTokens = 0;
  #aborted = false;

  /** @throws EverloraError context_length_exceeded, or what is wrong with the request */
  constructor(request: GenerateMessage, adapter: readonly Parameter[], tokenizer: Tokenizer, decoder: Decoder, constraint: JsonConstraint | null) {
    this.id = request.id;
    this.generation = request.generation;
    this.#request = request;
    this.#tokenizer = tokenizer;
    this.#decoder = decoder;
    this.#constraint = constraint;
    // Its own generator, so that what runs beside it can't change the answer.
    this.#random = createRandom(request.seed ?? Math.floor(performance.now() * 1000) ^ process.pid);
    this.#text = new TextStream((ids) => tokenizer.decode(ids), request.stop);
    const prompt = request.messages === undefined ? tokenizer.encode(request.prompt ?? "") : tokenizer.prompt(request.messages.map((message) => ({ role: message.role, content: textOf(message) })));
    this.#penalties = new Penalties(request, prompt);
    this.#promptTokens = prompt.length;
    const odd = Object.keys(request.logitBias ?? {}).find((token) => Number(token) >= tokenizer.vocabularySize);
    if (odd !== undefined) throw new EverloraError("invalid_request", `logit_bias: ${odd} is no token: this model's are 0 to ${tokenizer.vocabularySize - 1}.`, { param: "logit_bias" });
    this.#sequence = this.#open(prompt, adapter);
  }

  /** The decoder knows no request; the client shall know which field was too long. */
  #open(prompt: readonly number[], adapter: readonly Parameter[]): Sequence {
    try {
      return this.#decoder.open(prompt, adapter);
    } catch (error) {
      if (!(error instanceof EverloraError)) throw error;
      throw new EverloraError(error.code, error.message, { param: this.#request.messages === undefined ? "prompt" : "messages", cause: error });
    }
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  /** Its prompt has not been read to the end. */
  get reading(): boolean {
    return this.#token === undefined;
  }

  /** Tokens of its prompt that are not read, among them those that an earlier prompt had computed. */
  get unread(): number {
    return this.#promptTokens - this.#sequence.length;
  }

  /** What to decode next, once the prompt has been read. */
  get next(): Next {
    if (this.#token === undefined) throw new Error("the prompt has not been read");
    return { sequence: this.#sequence, token: this.#token };
  }

  abort(): void {
    this.#aborted = true;
  }

  /** Reads a piece of the prompt. @returns the first token's piece once the prompt has been read */
  async read(most: number): Promise<Piece | null> {
    const logits = await this.#decoder.read(this.#sequence, most);
    return logits === null ? null : this.take(logits);
  }

  /** Whether its prompt can be read in one run with another's. */
  canReadWith(other: Generation): boolean {
    return this.reading && other.reading && this.#decoder.canReadTogether(this.#sequence, other.#sequence);
  }

  /** Reads whole prompts in one run, of generations that can be. @returns for each, what draws its first token */
  static async readAll(decoder: Decoder, generations: readonly Generation[]): Promise<(() => Piece)[]> {
    const logits = await decoder.readAll(generations.map((generation) => generation.#sequence));
    return generations.map((generation, at) => () => generation.take(logits[at] ?? new Float32Array(0)));
  }

  /** The likeliest token is all that it wants to know of the logits. */
  get greedy(): boolean {
    const { temperature, logprobs } = this.#request;
    return temperature === 0 && (logprobs ?? null) === null && !this.#penalties.active && this.#constraint === null;
  }

  /** Draws a token. @throws EverloraError engine_failed when the logits are no numbers */
  take(logits: Float32Array): Piece {
    return this.#accept(sample(this.#shaped(logits), this.#request, this.#random), logits);
  }

  /** As `take`, for those that are greedy. @throws EverloraError engine_failed when the logit is no number */
  takeLikeliest({ token, logit }: Likeliest): Piece {
    return this.#accept(checked(token, logit), new Float32Array(0));
  }

  #accept(token: number, logits: Float32Array): Piece {
    if (this.#tokenizer.endTokens.includes(token)) return this.#end("stop");
    this.#completionTokens++;
    this.#penalties.count(token);
    this.#constraint?.accept(token);
    const { logprobs } = this.#request;
    if (logprobs !== undefined && logprobs !== null) this.#held.push(this.#score(logits, token, logprobs));
    const text = this.#text.push(token);
    if (this.#text.stopped) return { text, logprobs: this.#within(text), done: this.#done("stop") };
    if (this.#constraint?.complete === true) return this.#end("stop", text);
    if (this.#completionTokens >= Math.min(this.#request.maxTokens, this.#decoder.contextLength - this.#promptTokens)) return this.#end("length", text);
    this.#token = token;
    return { text, logprobs: text === "" ? [] : this.#held.splice(0) };
  }

  /** The end that somebody asked for. */
  cancelled(): Done {
    return this.#done("abort");
  }

  close(): void {
    this.#decoder.close(this.#sequence);
  }

  #shaped(logits: Float32Array): Float32Array {
    if (!this.#penalties.active && this.#constraint === null) return logits;
    const shaped = logits.slice();
    this.#penalties.apply(shaped);
    this.#constraint?.restrict(shaped);
    return shaped;
  }

  #end(finishReason: Done["finishReason"], text = ""): Piece {
    const rest = text + this.#text.end();
    return { text: rest, logprobs: this.#text.stopped ? this.#within(rest) : this.#held.splice(0), done: this.#done(finishReason) };
  }

  /** The held tokens that lie within a text that a stop sequence has cut. */
  #within(text: string): TokenLogprob[] {
    let room = Buffer.byteLength(text);
    return this.#held.splice(0).filter(({ bytes }) => (room -= bytes?.length ?? 0) >= 0);
  }

  #score(logits: Float32Array, token: number, count: number): TokenLogprob {
    const { chosen, top } = scoreToken(logits, token, count);
    const described = ({ token: id, logprob }: { token: number; logprob: number }) => {
      const bytes = this.#tokenizer.bytes()[id] ?? null;
      return { token: bytes === null ? this.#tokenizer.name(id) : Buffer.from(bytes).toString(), logprob, bytes: bytes === null ? null : [...bytes] };
    };
    return { ...described(chosen), top_logprobs: top.map(described) };
  }

  #done(finishReason: Done["finishReason"]): Done {
    return { finishReason, promptTokens: this.#promptTokens, completionTokens: this.#completionTokens, cachedTokens: Math.min(this.#sequence.reused, this.#promptTokens) };
  }
}
