/**
 * Chooses the next token from logits. The order is that of transformers' generate(): temperature, then the k likeliest, then top-p, then min-p; each looks at what
 * the one before has left. What changes logits before that is in penalties.ts and json/.
 */
import { EverloraError } from "../errors/errors.ts";
import type { Random } from "../models/random.ts";

export interface Sampling {
  /** 0 = always the likeliest. */
  readonly temperature: number;
  /** Keep the likeliest tokens whose probabilities reach this sum (Holtzman et al. 2020). 1 = all. */
  readonly topP: number;
  /** Keep so many of the likeliest (Fan et al. 2018). 0 or absent = all. */
  readonly topK?: number | undefined;
  /** Keep tokens with at least this share of the likeliest one's probability (Nguyen et al. 2024). 0 or absent = all. */
  readonly minP?: number | undefined;
}

/** A weight of e⁻³⁰ of the likeliest: all that are less likely share less than a hundred-millionth. */
const negligible = -30;
/** Of the span from there to 0, so many steps are told apart when the likeliest are sought. */
const steps = 1_024;

/** What is drawn from: weights of these tokens, or of all of them in order. */
export interface Weighed {
  readonly tokens: readonly number[] | null;
  readonly weights: Float64Array;
  readonly total: number;
}

/** @throws EverloraError engine_failed when the logits are no numbers: whatever were drawn from them would look like an answer */
export function sample(logits: Float32Array, sampling: Sampling, random: Random): number {
  if (sampling.temperature > 0) return draw(weigh(logits, sampling), random);
  const best = argmax(logits);
  if (!Number.isFinite(logits[best])) throw noNumbers(logits[best] ?? NaN);
  return best;
}

/** @param sampling with a temperature above 0 @throws EverloraError engine_failed */
export function weigh(logits: Float32Array, { temperature, topP, topK = 0, minP = 0 }: Sampling): Weighed {
  const top = logits[argmax(logits)] ?? NaN;
  if (!Number.isFinite(top)) throw noNumbers(top);
  const scaled = new Float32Array(logits.length);
  for (let at = 0; at < logits.length; at++) {
    const value = ((logits[at] ?? NaN) - top) / temperature;
    if (Number.isNaN(value)) throw noNumbers(value);
    scaled[at] = value;
  }
  const limit = topK > 0 && topK < logits.length ? likeliest(scaled, topK, Infinity) : null;
  const kept = topP < 1 ? likeliest(limit === null ? scaled : pick(scaled, limit), Infinity, topP) : null;
  const tokens = limit === null ? kept : kept === null ? limit : kept.map((at) => limit[at] ?? 0);
  return weightsOf(scaled, tokens, minP > 0 ? Math.log(minP) : -Infinity);
}

export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let at = 1; at < logits.length; at++) if ((logits[at] ?? -Infinity) > (logits[best] ?? -Infinity)) best = at;
  return best;
}

const pick = (values: Float32Array, tokens: readonly number[]) => Float32Array.from(tokens, (token) => values[token] ?? -Infinity);

/**
 * The fewest likeliest tokens that are `count`, or that have `share` of all probability; at least one. Sorting a vocabulary at each token would take
 * longer than a small model: a histogram finds where the border lies, and only what is near it is sorted.
 * @param scaled logarithms of the weights, 0 for the likeliest
 */
function likeliest(scaled: Float32Array, count: number, share: number): number[] {
  const counts = new Int32Array(steps + 1);
  const masses = new Float64Array(steps + 1);
  let total = 0;
  const placed = new Float64Array(scaled.length);
  for (let at = 0; at < scaled.length; at++) {
    const step = stepOf(scaled[at] ?? -Infinity);
    const weight = Math.exp(scaled[at] ?? -Infinity);
    placed[at] = weight;
    counts[step] = (counts[step] ?? 0) + 1;
    masses[step] = (masses[step] ?? 0) + weight;
    total += weight;
  }
  const wanted = share * total;
  let [border, many, mass] = [0, 0, 0];
  while (border < steps && many + (counts[border] ?? 0) < count && mass + (masses[border] ?? 0) < wanted) {
    many += counts[border] ?? 0;
    mass += masses[border] ?? 0;
    border++;
  }
  const kept: number[] = [];
  const near: number[] = [];
  for (let at = 0; at < scaled.length; at++) {
    const step = stepOf(scaled[at] ?? -Infinity);
    if (step < border) kept.push(at);
    else if (step === border) near.push(at);
  }
  near.sort((a, b) => (scaled[b] ?? 0) - (scaled[a] ?? 0) || a - b);
  for (const token of near) {
    if (kept.length > 0 && (kept.length >= count || mass >= wanted)) break;
    kept.push(token);
    mass += placed[token] ?? 0;
  }
  return kept.sort((a, b) => a - b);
}

const stepOf = (scaled: number) => (scaled <= negligible ? steps : Math.floor((scaled / negligible) * steps));

/** @param tokens those that are left; null for all; @param least logarithm of the least weight that counts */
function weightsOf(scaled: Float32Array, tokens: readonly number[] | null, least: number): Weighed {
  const weights = new Float64Array(tokens?.length ?? scaled.length);
  const floor = Math.max(least - 1e-6, negligible);
  let total = 0;
  for (let at = 0; at < weights.length; at++) {
    const value = scaled[tokens === null ? at : (tokens[at] ?? 0)] ?? -Infinity;
    if (value < floor) continue;
    const weight = Math.exp(value);
    weights[at] = weight;
    total += weight;
  }
  return { tokens, weights, total };
}

function draw({ tokens, weights, total }: Weighed, random: Random): number {
  let rest = random.next() * total;
  let last = 0;
  for (let at = 0; at < weights.length; at++) {
    const weight = weights[at] ?? 0;
    if (weight === 0) continue;
    rest -= weight;
    last = at;
    if (rest < 0) break; // rounding may leave a crumb behind the last
  }
  return tokens === null ? last : (tokens[last] ?? 0);
}

const noNumbers = (found: number) => new EverloraError("engine_failed", `The model computed ${found} where a token's score should be.`, { hint: "The weights of the base or of the adapter are damaged, or too large for float32: try without the adapter, then check the base model's files." });
