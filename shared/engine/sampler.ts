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

/** What is drawn from: weights of these tokens, or of all of them in order. Of all of them only until the next call. */
export interface Weighed {
  readonly tokens: readonly number[] | null;
  readonly weights: Float64Array;
  readonly total: number;
}

/** @throws EverloraError engine_failed when the logits are no numbers: whatever were drawn from them would look like an answer */
export function sample(logits: Float32Array, sampling: Sampling, random: Random): number {
  if (sampling.temperature > 0) return draw(weigh(logits, sampling), random);
  const best = argmax(logits);
  return checked(best, logits[best] ?? NaN);
}

/** The likeliest token as somebody else found it. @throws EverloraError engine_failed when its logit is no number */
export function checked(token: number, logit: number): number {
  if (!Number.isFinite(logit)) throw noNumbers(logit);
  return token;
}

/** @param sampling with a temperature above 0 @throws EverloraError engine_failed */
export function weigh(logits: Float32Array, { temperature, topP, topK = 0, minP = 0 }: Sampling): Weighed {
  const top = logits[argmax(logits)] ?? NaN;
  if (!Number.isFinite(top)) throw noNumbers(top);
  const limited = topK > 0 && topK < logits.length;
  const least = minP > 0 ? Math.log(minP) - 1e-6 : negligible;
  const floor = limited || topP < 1 ? negligible : Math.max(least, negligible);
  const { scaled, weights } = scratchOf(logits.length);
  let total = 0;
  for (let at = 0; at < logits.length; at++) {
    const value = Math.fround(((logits[at] ?? NaN) - top) / temperature);
    if (Number.isNaN(value)) throw noNumbers(value);
    scaled[at] = value;
    const weight = value < floor ? 0 : weightOf(value);
    weights[at] = weight;
    total += weight;
  }
  const all: Scaled = { scaled, weights, total };
  if (!limited && topP >= 1) return { tokens: null, weights, total };
  const limit = limited ? likeliest(all, topK, Infinity) : null;
  const within = topP < 1 ? likeliest(limit === null ? all : pick(all, limit), Infinity, topP) : null;
  const tokens = within === null ? (limit ?? []) : limit === null ? within : within.map((at) => limit[at] ?? 0);
  const kept = pick(all, tokens, Math.max(least, negligible));
  return { tokens, weights: kept.weights, total: kept.total };
}

/** Of equal ones the first. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  let top = logits[0] ?? NaN;
  for (let at = 1; at < logits.length; at++) {
    const logit = logits[at] ?? NaN;
    if (logit > top) {
      top = logit;
      best = at;
    }
  }
  return best;
}

/** Logarithms of weights, 0 for the likeliest, and the weights; those that are negligible are 0. */
interface Scaled {
  readonly scaled: Float32Array;
  readonly weights: Float64Array;
  readonly total: number;
}

/** Of the vocabulary's size, used again at each token: they would be most of what the process allocates. */
let scratch: Omit<Scaled, "total"> = { scaled: new Float32Array(0), weights: new Float64Array(0) };

function scratchOf(length: number): Omit<Scaled, "total"> {
  if (scratch.scaled.length !== length) scratch = { scaled: new Float32Array(length), weights: new Float64Array(length) };
  return scratch;
}

/** eˣ at every 256th from 0 down to the negligible. */
const powers = Float64Array.from({ length: 1 - 256 * negligible + 1 }, (_, at) => Math.exp(-at / 256));

/** eˣ for x from `negligible` to 0, to 15 digits: over a whole vocabulary Math.exp takes longer than some models' layers. */
function weightOf(x: number): number {
  const place = (x * -256) | 0;
  const rest = x + place / 256;
  return (powers[place] ?? 0) * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24 + rest / 120)))));
}

/** @param least logarithm of the least weight that counts */
function pick({ scaled, weights }: Scaled, tokens: readonly number[], least = -Infinity): Scaled {
  const picked = { scaled: new Float32Array(tokens.length), weights: new Float64Array(tokens.length) };
  let total = 0;
  tokens.forEach((token, at) => {
    const value = scaled[token] ?? -Infinity;
    const weight = value < least ? 0 : (weights[token] ?? 0);
    picked.scaled[at] = value;
    picked.weights[at] = weight;
    total += weight;
  });
  return { ...picked, total };
}

/**
 * The fewest likeliest tokens that are `count`, or that have `share` of all probability; at least one. Sorting a vocabulary at each token would take
 * longer than a small model: a histogram finds where the border lies, and only what is near it is sorted.
 */
function likeliest({ scaled, weights, total }: Scaled, count: number, share: number): number[] {
  const counts = new Int32Array(steps + 1);
  const masses = new Float64Array(steps + 1);
  for (let at = 0; at < scaled.length; at++) {
    const weight = weights[at] ?? 0;
    if (weight === 0) continue;
    const step = stepOf(scaled[at] ?? -Infinity);
    counts[step] = (counts[step] ?? 0) + 1;
    masses[step] = (masses[step] ?? 0) + weight;
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
  // Somewhat beyond the border: rounding must not leave out what lies on it.
  const cut = (negligible * (border + 2)) / steps;
  for (let at = 0; at < scaled.length; at++) {
    const value = scaled[at] ?? -Infinity;
    if (value < cut || weights[at] === 0) continue;
    const step = stepOf(value);
    if (step < border) kept.push(at);
    else if (step === border) near.push(at);
  }
  near.sort((a, b) => (scaled[b] ?? 0) - (scaled[a] ?? 0) || a - b);
  for (const token of near) {
    if (kept.length > 0 && (kept.length >= count || mass >= wanted)) break;
    kept.push(token);
    mass += weights[token] ?? 0;
  }
  return kept.sort((a, b) => a - b);
}

const stepOf = (scaled: number) => (scaled <= negligible ? steps : Math.floor((scaled / negligible) * steps));

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
