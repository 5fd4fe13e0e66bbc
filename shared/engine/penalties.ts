/** What changes logits before a token is drawn: penalties for repeating, and the caller's own bias. */

export interface PenaltySettings {
  /** OpenAI's: off the logit for each time that the token stands in the answer so far. */
  readonly frequencyPenalty?: number | undefined;
  /** OpenAI's: off the logit if the token stands in the answer so far. */
  readonly presencePenalty?: number | undefined;
  /** Keskar et al. 2019, as transformers has it: a positive logit of a token that stands in prompt or answer is divided by it, a negative one multiplied. */
  readonly repetitionPenalty?: number | undefined;
  /** Token id → what is added. */
  readonly logitBias?: Readonly<Record<string, number>> | undefined;
}

/** Of one answer. */
export class Penalties {
  readonly #frequency: number;
  readonly #presence: number;
  readonly #repetition: number;
  readonly #bias: readonly (readonly [number, number])[];
  readonly #seen: Set<number>;
  readonly #counts = new Map<number, number>();

  /** @param prompt counts for the repetition penalty only */
  constructor({ frequencyPenalty = 0, presencePenalty = 0, repetitionPenalty = 1, logitBias = {} }: PenaltySettings, prompt: readonly number[]) {
    this.#frequency = frequencyPenalty;
    this.#presence = presencePenalty;
    this.#repetition = repetitionPenalty;
    this.#bias = Object.entries(logitBias).map(([id, bias]) => [Number(id), bias]);
    this.#seen = new Set(repetitionPenalty === 1 ? [] : prompt);
  }

  /** False where nothing would change: the logits need no copy. */
  get active(): boolean {
    return this.#frequency !== 0 || this.#presence !== 0 || this.#repetition !== 1 || this.#bias.length > 0;
  }

  /** Changes `logits` in place. */
  apply(logits: Float32Array): void {
    const add = (token: number, value: number) => {
      if (token < logits.length) logits[token] = (logits[token] ?? 0) + value;
    };
    for (const token of this.#seen) {
      const logit = logits[token];
      if (logit !== undefined) logits[token] = logit > 0 ? logit / this.#repetition : logit * this.#repetition;
    }
    for (const [token, times] of this.#counts) add(token, -this.#frequency * times - this.#presence);
    for (const [token, bias] of this.#bias) add(token, bias);
  }

  /** A token of the answer. */
  count(token: number): void {
    if (this.#repetition !== 1) this.#seen.add(token);
    if (this.#frequency !== 0 || this.#presence !== 0) this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
  }
}
