/** Opens the store of a folder, keeps its index, and kills itself so many milliseconds after it began to. Arguments: folder, milliseconds. */
import { loadDomains } from "../../../shared/domains/domains.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { openStore } from "../../../services/collector/store/store.ts";

const [trainingData = "", afterMs = "0"] = process.argv.slice(2);
const store = await openStore(trainingData, loadDomains().map(({ name }) => name), silentLogger);
setTimeout(() => process.kill(process.pid, "SIGKILL"), Number(afterMs));
await store.save("at the end");
