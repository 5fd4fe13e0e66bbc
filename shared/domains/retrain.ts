/** Teaches a trainer of domains all rows that are on disk; whoever collects rows teaches it the new ones as they come (trainer.ts). */
import { setImmediate as nextTurn } from "node:timers/promises";
import { readRows, rowsPath } from "../datasets/rows.ts";
import type { Row } from "../datasets/row.ts";
import { explainWords } from "./classify.ts";
import type { Domain } from "./domains.ts";
import { featuresOf } from "./features.ts";
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
