/** Trains the classifier of domains on the rows that keywords sorted without a doubt: never on its own decisions, so that it can't drift away on them. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { readRows, rowsPath } from "../datasets/rows.ts";
import type { Row } from "../datasets/row.ts";
import { textOf } from "../events/conversation.ts";
import { classifierPath, writeClassifier } from "./classifier_file.ts";
import { explain, fallbackDomain } from "./classify.ts";
import type { Domain } from "./domains.ts";
import { trainNaiveBayes, type Example, type NaiveBayes } from "./naive_bayes.ts";

/** The newest rows of each domain; more would change little and take long. */
const mostRows = 5_000;

export const textOfRow = ({ messages }: Pick<Row, "messages">) =>
  messages
    .filter(({ role }) => role === "user" || role === "assistant")
    .map(textOf)
    .join("\n")
    .replace(/\[[A-Z][A-Z0-9_]{1,28}\]/g, " ");

/** @returns the model that was written, or null: too few rows of too few domains */
export async function retrainClassifier(trainingData: string, dataDir: string, domains: readonly Domain[]): Promise<NaiveBayes | null> {
  const examples: Example[] = [];
  // Keywords only: a copy of the table has no classifier.
  const table = [...domains];
  for (const { name } of domains) {
    const own: Example[] = [];
    for await (const row of readRows(rowsPath(trainingData, name))) {
      const text = textOfRow(row);
      const { classification, evidence } = explain(text, table);
      const isSure = name === fallbackDomain ? evidence.length === 0 : classification.domain === name && !classification.abstained;
      if (isSure) own.push({ text, domain: name });
      if (own.length >= 2 * mostRows) own.splice(0, mostRows);
      if (own.length % 50 === 0) await nextTurn();
    }
    examples.push(...own.slice(-mostRows));
  }
  const model = trainNaiveBayes(shuffled(examples));
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
