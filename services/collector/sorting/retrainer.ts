/**
 * Keeps the classifier of domains up to date: taught each new row as it comes, and written anew after enough of them. Rows of before this process are read from
 * the files, once and only when the first training is due; so are all rows after some have been taken out.
 */
import type { Logger } from "pino";
import type { Row } from "../../../shared/datasets/row.ts";
import type { Domain } from "../../../shared/domains/domains.ts";
import { classifierPath, readClassifier, writeClassifier } from "../../../shared/domains/classifier_file.ts";
import type { Lesson } from "../../../shared/domains/naive_bayes.ts";
import { trainerOfRows } from "../../../shared/domains/retrain.ts";
import { DomainTrainer } from "../../../shared/domains/trainer.ts";
import { messageOf } from "../../../shared/errors/errors.ts";

export interface Retrainer {
  /** @param collectedAt of the rows that teach this; later than of any before */
  learn(this: void, lessons: readonly Lesson[], collectedAt: number): void;
  /** Call it when readers are at rest. */
  look(): void;
  /** Resolves when no training is under way. */
  settled(): Promise<void>;
}

/** New rows that are worth a training: this many, and a tenth of all. */
const leastNews = 100;

export interface RetrainerParts {
  readonly trainingData: string;
  readonly dataDir: string;
  readonly domains: readonly Domain[];
  /** Rows of all domains on disk. */
  rows(this: void): number;
  /** collectedAt of the youngest of them. */
  lastCollected(this: void): number;
  /** How often rows were taken out. */
  removals(this: void): number;
  readonly log: Logger;
}

export function createRetrainer({ trainingData, dataDir, domains, rows, lastCollected, removals, log }: RetrainerParts): Retrainer {
  const empty = () => new DomainTrainer(domains.map(({ name }) => name));
  let trainedAt = readClassifier(classifierPath(dataDir)) === null ? 0 : rows();
  let work: Promise<void> | null = null;
  /** Null: what is on disk has to be read first. */
  let trainer = rows() === 0 ? empty() : null;
  let removed = removals();
  /** Lessons that came while the files were being read. */
  let latestOfAll = lastCollected();
  let pending: { readonly lessons: readonly Lesson[]; readonly collectedAt: number }[] = [];

  const taught = async (): Promise<DomainTrainer> => {
    if (trainer !== null && removed === removals()) return trainer;
    trainer = null;
    removed = removals();
    pending = [];
    const until = latestOfAll;
    const read = await trainerOfRows(trainingData, domains, (row: Row) => row.collectedAt <= until);
    for (const { lessons, collectedAt } of pending) if (collectedAt > until) for (const lesson of lessons) read.learn(lesson);
    pending = [];
    return (trainer = read);
  };
  const train = async (count: number) => {
    try {
      const model = (await taught()).model();
      if (model !== null) {
        await writeClassifier(classifierPath(dataDir), model);
        log.info({ rows: model.rows, domains: model.classes, threshold: model.threshold, temperature: model.temperature }, "trained the classifier of domains");
      }
      trainedAt = count;
    } catch (error) {
      log.warn({ reason: messageOf(error) }, "could not train the classifier of domains; the last one stays");
    }
  };
  return {
    learn(lessons, collectedAt) {
      latestOfAll = collectedAt;
      if (trainer !== null) for (const lesson of lessons) trainer.learn(lesson);
      else if (work !== null) pending.push({ lessons, collectedAt });
    },
    look() {
      const count = rows();
      if (work !== null || count - trainedAt < Math.max(leastNews, trainedAt / 10)) return;
      work = train(count).finally(() => (work = null));
    },
    settled: async () => {
      await work;
    },
  };
}
