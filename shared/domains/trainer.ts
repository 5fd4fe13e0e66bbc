/**
 * Learns the classifier of domains row by row: a new row is added to sums, and a new model is a pass over the sums, not over the rows. A fifth of each
 * domain's rows, the newest so many, is held out to calibrate with; what is older is learnt from.
 */
import { Counts } from "./counts.ts";
import type { Explanation } from "./classify.ts";
import { fallbackDomain } from "./fallback.ts";
import { fitCalibrated, type Lesson, type NaiveBayes } from "./naive_bayes.ts";

/** From twice so many rows of a domain on, what is older counts half: more would change little, and language goes on. */
const mostRows = 5_000;
const mostHeldOut = 400;
const heldOutEvery = 5;

/** Only what keywords sorted without a doubt teaches: never the classifier's own decisions, so that it can't drift away on them. */
export function isSure({ byKeywords, evidence }: Explanation, domain: string): boolean {
  return domain === fallbackDomain ? evidence.length === 0 : byKeywords.domain === domain && !byKeywords.abstained;
}

export class DomainTrainer {
  readonly #counts: Counts;
  readonly #heldOut: Lesson[][];
  readonly #seen: number[];

  /** @param names of all domains */
  constructor(names: readonly string[]) {
    this.#counts = new Counts([...names].sort());
    this.#heldOut = names.map(() => []);
    this.#seen = names.map(() => 0);
  }

  learn(lesson: Lesson): void {
    const at = this.#counts.classes.indexOf(lesson.domain);
    const [heldOut, seen] = [this.#heldOut[at], this.#seen[at]];
    if (heldOut === undefined || seen === undefined) return;
    this.#seen[at] = seen + 1;
    if (seen % heldOutEvery !== heldOutEvery - 1) this.#add(lesson, at);
    else {
      heldOut.push(lesson);
      const oldest = heldOut.length > mostHeldOut ? heldOut.shift() : undefined;
      if (oldest !== undefined) this.#add(oldest, at);
    }
  }

  /** Null: too few rows of too few domains. */
  model(): NaiveBayes | null {
    return fitCalibrated(this.#counts, this.#heldOut.flat());
  }

  #add({ features }: Lesson, at: number): void {
    this.#counts.add(features, at);
    if ((this.#counts.rows[at] ?? 0) >= 2 * mostRows) this.#counts.halve(at);
  }
}
