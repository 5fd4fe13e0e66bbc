/** When the classifier of domains is trained again: after enough new rows, one training at a time, and never so that collecting waits for it. */
import type { Logger } from "pino";
import type { Domain } from "../../../shared/domains/domains.ts";
import { classifierPath, readClassifier } from "../../../shared/domains/classifier_file.ts";
import { retrainClassifier } from "../../../shared/domains/retrain.ts";
import { messageOf } from "../../../shared/errors/errors.ts";

export interface Retrainer {
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
  readonly log: Logger;
}

export function createRetrainer({ trainingData, dataDir, domains, rows, log }: RetrainerParts): Retrainer {
  let trainedAt = readClassifier(classifierPath(dataDir)) === null ? 0 : rows();
  let work: Promise<void> | null = null;
  const train = async (count: number) => {
    try {
      const model = await retrainClassifier(trainingData, dataDir, domains);
      if (model !== null) log.info({ rows: model.rows, domains: model.classes, threshold: model.threshold, temperature: model.temperature }, "trained the classifier of domains");
      trainedAt = count;
    } catch (error) {
      log.warn({ reason: messageOf(error) }, "could not train the classifier of domains; the last one stays");
    }
  };
  return {
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
