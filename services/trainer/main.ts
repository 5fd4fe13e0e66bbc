/** The trainer as a process: `node --import tsx services/trainer/main.ts`. */
import { runService } from "../../shared/config/lifecycle.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { createLogger } from "../../shared/log/log.ts";
import { startTrainer } from "./trainer.ts";

const log = createLogger("trainer");
runService("trainer", log, () => {
  const settings = loadSettings();
  log.level = settings.LOG_LEVEL;
  return startTrainer(settings, log);
});
