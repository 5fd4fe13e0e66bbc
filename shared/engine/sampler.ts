/** Chooses the next token from logits. */
import { EverloraError } from "../errors/errors.ts";
import type { Random } from "../models/random.ts";

export interface Sampling {
  /** 0 = always the likeliest. */
  readonly temperature: number;
  /** Keep the likeliest tokens whose probabilities reach this sum (Holtzman et al. 2020). */
  readonly topP: number;
}

/** @throws EverloraError engine_failed when the logits are no numbers: whatever were drawn from them would look like an answer */
export function sample(logits: Float32Array, { temperature, topP }: Sampling, random: Random): number {
  const best = argmax(logits);
  const top = logits[best] ?? NaN;
  if (!Number.isFinite(top)) throw noNumbers(top);
  if (temperature === 0) return best;
  const weights = logits.map((logit) => Math.exp((logit - top) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (!Number.isFinite(total)) throw noNumbers(total);
  if (topP >= 1) return draw(weights, random.next() * total, (at) => at);
  const order = [...weights.keys()].filter((token) => (weights[token] ?? 0) > total * 1e-9).sort((a, b) => (weights[b] ?? 0) - (weights[a] ?? 0));
  let kept = 0;
  let mass = 0;
  while (kept < order.length && mass < topP * total) mass += weights[order[kept++] ?? 0] ?? 0;
  return draw(Float32Array.from(order.slice(0, Math.max(kept, 1)), (token) => weights[token] ?? 0), random.next() * mass, (at) => order[at] ?? 0);
}

function argmax(logits: Float32Array): number {
  let best = 0;
  for (let at = 1; at < logits.length; at++) if ((logits[at] ?? -Infinity) > (logits[best] ?? -Infinity)) best = at;
  return best;
}

function draw(weights: Float32Array, point: number, token: (at: number) => number): number {
  let rest = point;
  let last = 0;
  for (let at = 0; at < weights.length; at++) {
    const weight = weights[at] ?? 0;
    rest -= weight;
    if (rest < 0) return token(at);
    if (weight > 0) last = at;
  }
  return token(last); // rounding left a crumb
}

const noNumbers = (found: number) => new EverloraError("engine_failed", `The model computed ${found} where a token's score should be.`, { hint: "The weights of the base or of the adapter are damaged, or too large for float32: try without the adapter, then check the base model's files." });
