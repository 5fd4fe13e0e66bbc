/**
 * A classifier of domains that is trained on rows which are sorted already: multinomial naive Bayes over words and pairs of words, in log space, sparse. Its
 * probabilities are calibrated by a temperature, and it abstains below a threshold; both are fitted on a fifth of the rows that it was not trained on.
 */
import { bestTemperature, bestThreshold, softmax } from "./calibrate.ts";
import { Counts } from "./counts.ts";
import { featuresOf, hashOfWord, isPair, weightOf, type Features } from "./features.ts";
import { HashIndex } from "./hash_index.ts";
import { wordsOf, type Word } from "./words.ts";

export interface Example {
  readonly text: string;
  readonly domain: string;
}

export interface NaiveBayes {
  readonly classes: readonly string[];
  /** Log priors, one a class. */
  readonly priors: readonly number[];
  readonly features: HashIndex;
  /** Log likelihood by feature and class. */
  readonly likelihoods: Float32Array;
  readonly temperature: number;
  /** Least probability to decide with. */
  readonly threshold: number;
  readonly rows: number;
}

export interface Prediction {
  readonly domain: string;
  readonly probability: number;
  /** Of each class of the model. */
  readonly probabilities: Float64Array;
}

/** A row that teaches: what is in it, and the domain that it was sorted into. */
export interface Lesson {
  readonly features: Features;
  readonly domain: string;
}

const smoothing = 0.3;
/** Rarer features say little, and the model is to stay a small file. */
const mostFeatures = 40_000;
/** A domain with fewer rows is left out. */
const leastRowsOfClass = 20;

/**
 * Null without at least two domains of `leastRows` rows each.
 * @param examples every fifth is for calibration
 */
export function trainNaiveBayes(examples: readonly Example[], leastRows = leastRowsOfClass): NaiveBayes | null {
  const lessons = examples.map(({ text, domain }) => ({ features: featuresOf(wordsOf(text)), domain }));
  const counts = new Counts([...new Set(examples.map(({ domain }) => domain))].sort());
  const isHeldOut = (at: number) => at % 5 === 4;
  for (const [at, { features, domain }] of lessons.entries()) if (!isHeldOut(at)) counts.add(features, counts.classes.indexOf(domain));
  return fitCalibrated(counts, lessons.filter((_, at) => isHeldOut(at)), leastRows);
}

/**
 * Fits without the held-out rows, calibrates on them, and fits again with them.
 * @param counts of the other rows; the same after it as before
 */
export function fitCalibrated(counts: Counts, heldOut: readonly Lesson[], leastRows = leastRowsOfClass): NaiveBayes | null {
  const places = heldOut.map(({ domain }) => counts.classes.indexOf(domain));
  const rows = counts.rows.slice();
  for (const place of places) rows[place] = (rows[place] ?? 0) + 1;
  const usable = counts.classes.flatMap((_, at) => ((rows[at] ?? 0) >= leastRows ? [at] : []));
  if (usable.length < 2) return null;
  const trial = fit(counts, usable);
  const judged = heldOut.flatMap(({ features, domain }) => {
    const truth = trial.classes.indexOf(domain);
    return truth < 0 ? [] : [{ logits: logitsOf(trial, features), truth }];
  });
  const temperature = bestTemperature(judged);
  for (const [at, { features }] of heldOut.entries()) counts.add(features, places[at] ?? 0);
  const model = { ...fit(counts, usable), temperature, threshold: bestThreshold(judged, temperature) };
  for (const [at, { features }] of heldOut.entries()) counts.add(features, places[at] ?? 0, -1);
  return model;
}

/** The likeliest domain with its calibrated probability, whatever the threshold is; probability 0 for a text of which no word is known. */
export function predict(model: NaiveBayes, text: string): Prediction {
  return predictWords(model, wordsOf(text));
}

/** The same of a text whose words are known. */
export function predictWords(model: NaiveBayes, words: readonly Word[]): Prediction {
  const features = featuresOf(words);
  const probabilities = new Float64Array(model.classes.length);
  if (!features.hashes.some((hash) => model.features.find(hash) >= 0)) return { domain: model.classes[0] ?? "", probability: 0, probabilities };
  const best = softmax(logitsOf(model, features), model.temperature, probabilities);
  return { domain: model.classes[best] ?? "", probability: probabilities[best] ?? 0, probabilities };
}

/** Whether a word was in the rows that it was trained on. */
export function knowsWord(model: NaiveBayes, word: string): boolean {
  return wordsOf(word).every(({ lexeme }) => model.features.find(hashOfWord(lexeme)) >= 0);
}

/** @param usable places of the classes that come into it */
function fit(counts: Counts, usable: readonly number[]): NaiveBayes {
  const kept = keptFeatures(counts);
  const width = usable.length;
  const likelihoods = new Float32Array(kept.length * width);
  const totals = new Float64Array(width);
  for (const feature of kept) for (let at = 0; at < width; at++) totals[at] = (totals[at] ?? 0) + counts.sum(feature, usable[at] ?? 0);
  const sums = totals.map((total) => total + smoothing * kept.length);
  for (let row = 0; row < kept.length; row++) {
    for (let at = 0; at < width; at++) likelihoods[row * width + at] = Math.log((counts.sum(kept[row] ?? 0, usable[at] ?? 0) + smoothing) / (sums[at] ?? 1));
  }
  const rows = usable.map((at) => counts.rows[at] ?? 0);
  const all = rows.reduce((sum, count) => sum + count, 0);
  const { hashes } = counts;
  return {
    classes: usable.map((at) => counts.classes[at] ?? ""),
    priors: rows.map((count) => Math.log(Math.max(count, 0.5) / all)),
    features: HashIndex.of(Array.from(kept, (feature) => (hashes[feature] ?? 0) | 0)),
    likelihoods,
    temperature: 1,
    threshold: 1,
    rows: Math.round(all),
  };
}

/** Words, and pairs that came twice; of too many those in the most rows. */
function keptFeatures(counts: Counts): number[] {
  const { hashes } = counts;
  const kept: number[] = [];
  for (let feature = 0; feature < counts.size; feature++) {
    const documents = counts.documents(feature);
    if (documents >= 2 || (documents >= 1 && !isPair(hashes[feature] ?? 0))) kept.push(feature);
  }
  if (kept.length <= mostFeatures) return kept;
  return kept.sort((a, b) => counts.documents(b) - counts.documents(a) || (hashes[a] ?? 0) - (hashes[b] ?? 0)).slice(0, mostFeatures);
}

function logitsOf(model: NaiveBayes, { hashes, counts }: Features): Float64Array {
  const width = model.classes.length;
  const logits = Float64Array.from(model.priors);
  for (let place = 0; place < hashes.length; place++) {
    const row = model.features.find((hashes[place] ?? 0) | 0);
    if (row < 0) continue;
    const weight = weightOf(counts[place] ?? 0);
    for (let at = 0; at < width; at++) logits[at] = (logits[at] ?? 0) + weight * (model.likelihoods[row * width + at] ?? 0);
  }
  return logits;
}
