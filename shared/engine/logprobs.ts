/** Log-probabilities of a token and of its likeliest alternatives, from the model's own logits. */

export interface Scored {
  readonly token: number;
  /** Natural logarithm of the probability. */
  readonly logprob: number;
}

/** What stands for the logarithm of nothing, as vLLM has it: JSON knows no infinity. */
const least = -9_999;

/** @param count of alternatives; the likeliest first, of equal ones the first */
export function scoreToken(logits: Float32Array, token: number, count: number): { chosen: Scored; top: Scored[] } {
  let top = -Infinity;
  for (const logit of logits) if (logit > top) top = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - top);
  const normaliser = top + Math.log(sum);
  const of = (id: number): Scored => ({ token: id, logprob: Math.max((logits[id] ?? -Infinity) - normaliser, least) });
  return { chosen: of(token), top: greatest(logits, count).map(of) };
}

function greatest(logits: Float32Array, count: number): number[] {
  const kept: number[] = [];
  if (count <= 0) return kept;
  let threshold = -Infinity;
  for (let at = 0; at < logits.length; at++) {
    const logit = logits[at] ?? -Infinity;
    if (kept.length === count && logit <= threshold) continue;
    let place = kept.length;
    while (place > 0 && (logits[kept[place - 1] ?? 0] ?? 0) < logit) place--;
    kept.splice(place, 0, at);
    if (kept.length > count) kept.pop();
    threshold = logits[kept.at(-1) ?? 0] ?? -Infinity;
  }
  return kept;
}
