/** A collector's stream reader that kills itself with SIGKILL at one step. Arguments: Redis URL, data folder, step. */
import { appendFile, mkdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { createAnonymiser } from "../../../shared/anonymise/anonymiser.ts";
import { appendRows, rowsPath } from "../../../shared/datasets/rows.ts";
import { loadDomains } from "../../../shared/domains/domains.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { createMetrics } from "../../../shared/metrics/metrics.ts";
import { openRedis } from "../../../shared/redis/redis.ts";
import { createIntake } from "../../../services/collector/intake.ts";
import { startStreamReader } from "../../../services/collector/readers/stream.ts";
import { openStore, type Store } from "../../../services/collector/store/store.ts";

const [url = "", dataFolder = "", step = ""] = process.argv.slice(2);
const trainingData = join(dataFolder, "training_data");
const die = (): Promise<never> => {
  process.kill(process.pid, "SIGKILL");
  return new Promise(() => undefined);
};

async function run(): Promise<void> {
  const domains = loadDomains();
  const store = await openStore(trainingData, domains.map(({ name }) => name), silentLogger);
  const redis = await openRedis(url, "patient", silentLogger);
  const dying: Store = Object.create(store, {
    write: {
      value: async (batch: Parameters<Store["write"]>[0]) => {
        if (step === "before the rows") await die();
        const [first] = batch.rows;
        if (step === "in mid-line" && first !== undefined) {
          await mkdir(join(trainingData, first.domain), { recursive: true });
          await appendFile(rowsPath(trainingData, first.domain), JSON.stringify(first).slice(0, 200));
          await die();
        }
        if (step === "after the rows, before the drops") {
          for (const row of batch.rows) await appendRows(trainingData, row.domain, [row]);
          await die();
        }
        await store.write(batch);
        if (step === "after the drops, before the acknowledgement") await die();
      },
    },
  }) as Store;
  const multi = redis.multi.bind(redis);
  redis.multi = ((...given: []) => {
    const transaction = multi(...given);
    const exec = transaction.exec.bind(transaction);
    transaction.exec = async () => {
      const replies = await exec();
      if (step === "after the acknowledgement") await die();
      return replies;
    };
    return transaction;
  }) as typeof redis.multi;
  const metrics = createMetrics("collector");
  const intake = createIntake(dying, { anonymiser: createAnonymiser(), domains, heldOutShare: 0.15, days: 30 }, metrics, silentLogger);
  startStreamReader({ redis, intake, metrics, log: silentLogger, safeText: () => "", consumer: `${hostname()}-${sha256(trainingData).slice(0, 8)}`, onQuiet: async () => undefined });
}

void run();
