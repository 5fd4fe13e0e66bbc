/** How sure a classifier may be: a temperature for its probabilities and a threshold for its decisions, from rows that it was not trained on. */

export interface Held {
  readonly logits: Float64Array;
  readonly truth: number;
}

/** The share of decisions that is to be right where it decides. */
const wantedPrecision = 0.9;

/** @param into filled with the probabilities; returns the place of the largest */
export function softmax(logits: Float64Array, temperature: number, into: Float64Array): number {
  let best = 0;
  for (let at = 1; at < logits.length; at++) if ((logits[at] ?? 0) > (logits[best] ?? 0)) best = at;
  const most = logits[best] ?? 0;
  let sum = 0;
  for (let at = 0; at < logits.length; at++) sum += into[at] = Math.exp(((logits[at] ?? 0) - most) / temperature);
  for (let at = 0; at < logits.length; at++) into[at] = (into[at] ?? 0) / sum;
  return best;
}

/** Naive Bayes is far too sure of itself: the temperature with the least loss on rows that it has not seen (Guo et al. 2017). */
export function bestTemperature(rows: readonly Held[]): number {
  const probabilities = new Float64Array(rows[0]?.logits.length ?? 0);
  let best = 1;
  let least = Infinity;
  for (let temperature = 0.5; temperature < 60; temperature *= 1.15) {
    let loss = 0;
    for (const { logits, truth } of rows) {
      softmax(logits, temperature, probabilities);
      loss -= Math.log(Math.max(1e-9, probabilities[truth] ?? 0));
    }
    if (loss < least) [best, least] = [temperature, loss];
  }
  return best;
}

/** The lowest probability from which on nine of ten decisions were right; 0.6 at least, because what belongs to no domain is not in the rows. */
export function bestThreshold(rows: readonly Held[], temperature: number): number {
  const probabilities = new Float64Array(rows[0]?.logits.length ?? 0);
  const decisions = rows
    .map(({ logits, truth }) => {
      const best = softmax(logits, temperature, probabilities);
      return { probability: probabilities[best] ?? 0, right: best === truth };
    })
    .sort((a, b) => b.probability - a.probability);
  let right = 0;
  let threshold = 0.95;
  for (const [at, decision] of decisions.entries()) {
    if (decision.right) right++;
    // Where even the least sure decisions are right enough, none of them says how unsure one may be.
    if (right / (at + 1) >= wantedPrecision) threshold = at === decisions.length - 1 ? 0 : decision.probability;
  }
  return Math.max(0.6, threshold);
}
