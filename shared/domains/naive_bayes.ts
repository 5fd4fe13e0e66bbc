/**
 * A classifier of domains that is trained on rows which are sorted already: multinomial naive Bayes over words and pairs of words, in log space, sparse. Its
 * probabilities are calibrated by a temperature, and it abstains below a threshold; both are fitted on a fifth of the rows that it was not trained on.
 */
import { keysOf, wordsOf } from "./words.ts";

export interface Example {
  readonly text: string;
  readonly domain: string;
}

export interface NaiveBayes {
  readonly classes: readonly string[];
  /** Log priors, one a class. */
  readonly priors: readonly number[];
  /** feature → log likelihood of each class */
  readonly features: ReadonlyMap<string, Float32Array>;
  readonly temperature: number;
  /** Least probability to decide with. */
  readonly threshold: number;
  readonly rows: number;
}

export interface Prediction {
  readonly domain: string;
  readonly probability: number;
}

const smoothing = 0.3;
/** Rarer features say little, and the model is to stay a small file. */
const mostFeatures = 40_000;
const mostWords = 400;
/** The share of decisions that is to be right where it decides. */
const wantedPrecision = 0.9;

/** Words, and pairs of neighbours in one clause; how often something comes counts as a logarithm. */
export function featuresOf(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  let before = "";
  for (const { text: word, breakBefore } of wordsOf(text.length > 8_000 ? text.slice(0, 8_000) : text).slice(0, mostWords)) {
    const { exact } = keysOf(word);
    counts.set(exact, (counts.get(exact) ?? 0) + 1);
    if (before !== "" && !breakBefore) counts.set(`${before} ${exact}`, (counts.get(`${before} ${exact}`) ?? 0) + 1);
    before = exact;
  }
  for (const [feature, count] of counts) counts.set(feature, 1 + Math.log(count));
  return counts;
}

/**
 * Null without at least two domains of `leastRows` rows each.
 * @param examples may be read twice
 */
export function trainNaiveBayes(examples: readonly Example[], leastRows = 20): NaiveBayes | null {
  const perClass = new Map<string, number>();
  for (const { domain } of examples) perClass.set(domain, (perClass.get(domain) ?? 0) + 1);
  const usable = examples.filter(({ domain }) => (perClass.get(domain) ?? 0) >= leastRows);
  if (new Set(usable.map(({ domain }) => domain)).size < 2) return null;
  const rows = usable.map(({ text, domain }) => ({ features: featuresOf(text), domain }));
  const isHeldOut = (at: number) => at % 5 === 4;
  const trial = fit(rows.filter((_, at) => !isHeldOut(at)));
  const heldOut = rows.filter((_, at) => isHeldOut(at)).map(({ features, domain }) => ({ logits: logitsOf(trial, features), truth: trial.classes.indexOf(domain) }));
  const temperature = bestTemperature(heldOut);
  return { ...fit(rows), temperature, threshold: bestThreshold(heldOut, temperature) };
}

/** The likeliest domain with its calibrated probability, whatever the threshold is; probability 0 for a text of which no word is known. */
export function predict(model: NaiveBayes, text: string): Prediction {
  const found = featuresOf(text);
  if (![...found.keys()].some((feature) => model.features.has(feature))) return { domain: model.classes[0] ?? "", probability: 0 };
  const probabilities = softmax(logitsOf(model, found), model.temperature);
  let best = 0;
  for (let at = 1; at < probabilities.length; at++) if ((probabilities[at] ?? 0) > (probabilities[best] ?? 0)) best = at;
  return { domain: model.classes[best] ?? "", probability: probabilities[best] ?? 0 };
}

function fit(rows: readonly { features: ReadonlyMap<string, number>; domain: string }[]): NaiveBayes {
  const classes = [...new Set(rows.map(({ domain }) => domain))].sort();
  const documents = new Map<string, number>();
  for (const { features } of rows) for (const feature of features.keys()) documents.set(feature, (documents.get(feature) ?? 0) + 1);
  const kept = [...documents].filter(([feature, count]) => count >= 2 || !feature.includes(" ")).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, mostFeatures);
  const features = new Map(kept.map(([feature]) => [feature, new Float32Array(classes.length)]));
  const totals = classes.map(() => 0);
  const priors = classes.map(() => 0);
  for (const row of rows) {
    const at = classes.indexOf(row.domain);
    priors[at] = (priors[at] ?? 0) + 1;
    for (const [feature, weight] of row.features) {
      const counts = features.get(feature);
      if (counts === undefined) continue;
      counts[at] = (counts[at] ?? 0) + weight;
      totals[at] = (totals[at] ?? 0) + weight;
    }
  }
  const sums = totals.map((total) => total + smoothing * features.size);
  for (const counts of features.values()) for (let at = 0; at < classes.length; at++) counts[at] = Math.log(((counts[at] ?? 0) + smoothing) / (sums[at] ?? 1));
  return { classes, priors: priors.map((count) => Math.log(count / rows.length)), features, temperature: 1, threshold: 1, rows: rows.length };
}

function logitsOf(model: NaiveBayes, found: ReadonlyMap<string, number>): number[] {
  const logits = [...model.priors];
  for (const [feature, weight] of found) {
    const likelihoods = model.features.get(feature);
    if (likelihoods === undefined) continue;
    for (let at = 0; at < logits.length; at++) logits[at] = (logits[at] ?? 0) + weight * (likelihoods[at] ?? 0);
  }
  return logits;
}

function softmax(logits: readonly number[], temperature: number): number[] {
  const most = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp((logit - most) / temperature));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

interface Held {
  readonly logits: readonly number[];
  readonly truth: number;
}

/** Naive Bayes is far too sure of itself: the temperature with the least loss on rows that it has not seen (Guo et al. 2017). */
function bestTemperature(rows: readonly Held[]): number {
  let best = 1;
  let least = Infinity;
  for (let temperature = 0.5; temperature < 60; temperature *= 1.15) {
    const loss = rows.reduce((sum, { logits, truth }) => sum - Math.log(Math.max(1e-9, softmax(logits, temperature)[truth] ?? 0)), 0);
    if (loss < least) [best, least] = [temperature, loss];
  }
  return best;
}

/** The lowest probability from which on nine of ten decisions were right; 0.6 at least, because what belongs to no domain is not in the rows. */
function bestThreshold(rows: readonly Held[], temperature: number): number {
  const decisions = rows
    .map(({ logits, truth }) => {
      const probabilities = softmax(logits, temperature);
      const probability = Math.max(...probabilities);
      return { probability, right: probabilities.indexOf(probability) === truth };
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
