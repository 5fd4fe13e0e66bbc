/** Entry of the trainer process of tests: as services/trainer/main.ts, with the options of tests from the command line. */
import { runService } from "../../../shared/config/lifecycle.ts";
import { loadSettings } from "../../../shared/config/settings.ts";
import { createLogger } from "../../../shared/log/log.ts";
import type { TrainerOptions } from "../../../services/trainer/context.ts";
import { startTrainer } from "../../../services/trainer/trainer.ts";

const settings = loadSettings();
const log = createLogger("trainer", settings.LOG_LEVEL);
runService("trainer", log, () => startTrainer(settings, log, JSON.parse(process.argv[2] ?? "{}") as Partial<TrainerOptions>));
