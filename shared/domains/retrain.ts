/** Teaches a trainer of domains all rows that are on disk; whoever collects rows teaches it the new ones as they come (trainer.ts). */
import { setImmediate as nextTurn } from "node:timers/promises";
import { readRows, rowsPath } from "../datasets/rows.ts";
import type { Row } from "../datasets/row.ts";
import { classifierPath, writeClassifier } from "./classifier_file.ts";
import { explainWords } from "./classify.ts";
import type { Domain } from "./domains.ts";
import { featuresOf } from "./features.ts";
import type { NaiveBayes } from "./naive_bayes.ts";
import { spokenWords } from "./spoken.ts";
import { DomainTrainer, isSure } from "./trainer.ts";

/** @param which rows; default all */
export async function trainerOfRows(trainingData: string, domains: readonly Domain[], which: (row: Row) => boolean = () => true): Promise<DomainTrainer> {
  const trainer = new DomainTrainer(domains.map(({ name }) => name));
  let count = 0;
  for (const { name } of domains) {
    for await (const row of readRows(rowsPath(trainingData, name))) {
      if (++count % 50 === 0) await nextTurn();
      const words = spokenWords(row.messages);
      if (which(row) && isSure(explainWords(words, domains), name)) trainer.learn({ features: featuresOf(words), domain: name });
    }
  }
  return trainer;
}

/** @returns the model that was written, or null: too few rows of too few domains */
export async function retrainClassifier(trainingData: string, dataDir: string, domains: readonly Domain[]): Promise<NaiveBayes | null> {
  const model = (await trainerOfRows(trainingData, domains)).model();
  if (model !== null) await writeClassifier(classifierPath(dataDir), model);
  return model;
}

/** The same order for the same rows, and no domain in one piece: every fifth row is for calibration. */
export function shuffled<T>(items: readonly T[]): T[] {
  const result = [...items];
  let state = 1;
  for (let at = result.length - 1; at > 0; at--) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (at + 1));
    [result[at], result[other]] = [result[other] as T, result[at] as T];
  }
  return result;
}
