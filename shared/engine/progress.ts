/**
 * Where a training stands: the optimiser's state, the measurements, the best adapter so far. All of it goes into the state from which a training goes on.
 */
import type { Evaluation, Finetuned } from "./finetune.ts";
import type { OptimiserState, TrainStep } from "./step.ts";

/** Everything that a training can't work out anew from its settings, examples and seeds. `optimiser.steps` is the place in the plan. */
export interface FinetuneState {
  readonly optimiser: OptimiserState;
  readonly evaluations: readonly Evaluation[];
  /** The best measured adapter; null before the first measurement. */
  readonly best: { readonly step: number; readonly values: Float32Array } | null;
  readonly losses: { readonly first: number; readonly last: number };
}

export class Progress {
  readonly #step: Pick<TrainStep, "state" | "restore">;
  readonly #patience: number;
  #evaluations: readonly Evaluation[] = [];
  #best: FinetuneState["best"] = null;
  #losses = { first: NaN, last: NaN };
  #done = 0;

  constructor(step: Pick<TrainStep, "state" | "restore">, patience: number, from?: FinetuneState) {
    this.#step = step;
    this.#patience = patience;
    if (from === undefined) return;
    step.restore(from.optimiser);
    this.#done = from.optimiser.steps;
    this.#evaluations = from.evaluations;
    this.#best = from.best;
    this.#losses = from.losses;
  }

  get steps(): number {
    return this.#done;
  }

  /** Whether the last measurements found no new best. */
  get stops(): boolean {
    const since = this.#evaluations.filter(({ step }) => step > (this.#best?.step ?? 0)).length;
    return this.#patience > 0 && since >= this.#patience;
  }

  add(step: number, loss: number): void {
    this.#done = step;
    this.#losses = { first: step === 1 ? loss : this.#losses.first, last: loss };
  }

  /** @returns whether it is the best so far */
  measure(evaluation: Evaluation): boolean {
    const least = Math.min(...this.#evaluations.map(({ loss }) => loss));
    this.#evaluations = [...this.#evaluations, evaluation];
    if (!(evaluation.loss < least)) return false;
    // A step makes new arrays and leaves its old ones alone: this one stays as it is.
    this.#best = { step: evaluation.step, values: this.#step.state().values };
    return true;
  }

  state(): FinetuneState {
    return { optimiser: this.#step.state(), evaluations: this.#evaluations, best: this.#best, losses: this.#losses };
  }

  /** Puts the best adapter back, if it is not the last. */
  finish(planned: number): Omit<Finetuned, "packing"> {
    if (this.#best !== null && this.#best.step !== this.#done) this.#step.restore({ ...this.#step.state(), values: this.#best.values });
    return { steps: this.#done, stoppedEarly: this.#done < planned, evaluations: this.#evaluations, bestStep: this.#best?.step ?? this.#done, losses: this.#losses };
  }
}
