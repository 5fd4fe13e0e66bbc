/** How well a model predicts a given answer: mean loss of its last turn. */
import { evaluate } from "../../../shared/engine/evaluate.ts";
import { signatureOf, toLora, type LanguageModel } from "../../../shared/engine/language_model.ts";
import type { Example } from "../../../shared/engine/pack.ts";
import type { Parameter } from "../../../shared/engine/flat_parameters.ts";
import { createLossFunction, type LossFunction } from "../../../shared/engine/loss_function.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { textOf, type Message } from "../../../shared/events/conversation.ts";

export class Scorer {
  readonly #model: LanguageModel;
  readonly #losses = new Map<string, Promise<LossFunction>>();

  constructor(model: LanguageModel) {
    this.#model = model;
  }

  /** @param messages the last one is the assistant's @returns nats a token @throws EverloraError context_length_exceeded, unprocessable */
  async score(messages: readonly Message[], parameters: readonly Parameter[]): Promise<{ loss: number; tokens: number }> {
    const { tokenizer, folder } = this.#model;
    const chat = messages.map((message) => ({ role: message.role, content: textOf(message) }));
    const { ids, spoken } = tokenizer.conversation(chat);
    const before = tokenizer.prompt(chat.slice(0, -1)).length;
    // Only the last answer counts, whatever the assistant said earlier in the conversation.
    const example: Example = { ids, trained: spoken.map((said, at) => said && at >= before) };
    const { contextLength } = folder.config;
    if (ids.length > contextLength) throw new EverloraError("context_length_exceeded", `The conversation has ${ids.length} tokens, the model's context ${contextLength}.`);
    const length = lengthFor(ids.length, contextLength);
    const loss = await this.#lossFunction(length, parameters);
    const [result] = await evaluate([example], { rows: 1, length }, (batch) => loss.run(batch, parameters));
    if (result === null || result === undefined || result.tokens === 0) throw new EverloraError("unprocessable", "The reference answer has no tokens to score.", { param: "reference" });
    return { loss: result.loss, tokens: result.tokens };
  }

  #lossFunction(length: number, parameters: readonly Parameter[]): Promise<LossFunction> {
    const key = `${length} ${signatureOf(parameters)}`;
    const known = this.#losses.get(key);
    if (known !== undefined) return known;
    const { backend, weights, folder } = this.#model;
    const made = createLossFunction(backend, parameters, (tensors) => ({ weights, lora: toLora(parameters, tensors, 1) }), folder.config, { rows: 1, length });
    this.#losses.set(key, made);
    made.catch(() => this.#losses.delete(key));
    return made;
  }
}

/** Few lengths, so few compiled functions: powers of 4 from 256, up to the context. */
function lengthFor(tokens: number, contextLength: number): number {
  let length = 256;
  while (length < tokens) length *= 4;
  return Math.min(length, contextLength);
}
