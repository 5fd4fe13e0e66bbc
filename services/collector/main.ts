/** The collector as a process: `node --import tsx services/collector/main.ts`. */
import { runService } from "../../shared/config/lifecycle.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { createLogger } from "../../shared/log/log.ts";
import { startCollector } from "./collector.ts";

const log = createLogger("collector");
runService("collector", log, () => {
  const settings = loadSettings();
  log.level = settings.LOG_LEVEL;
  return startCollector(settings, log);
});
