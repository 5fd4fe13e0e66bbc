/** Chooses the next token from logits. */
import type { Random } from "../models/random.ts";

export interface Sampling {
  /** 0 = always the likeliest. */
  readonly temperature: number;
  /** Keep the likeliest tokens whose probabilities reach this sum (Holtzman et al. 2020). */
  readonly topP: number;
}

export function sample(logits: Float32Array, { temperature, topP }: Sampling, random: Random): number {
  if (temperature === 0) return argmax(logits);
  const top = logits[argmax(logits)] ?? 0;
  const weights = logits.map((logit) => Math.exp((logit - top) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
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
  for (let at = 0; at < weights.length; at++) {
    rest -= weights[at] ?? 0;
    if (rest < 0) return token(at);
  }
  return token(weights.length - 1);
}
