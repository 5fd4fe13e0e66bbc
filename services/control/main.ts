/** Control as a process: `node --import tsx services/control/main.ts`. */
import { runService } from "../../shared/config/lifecycle.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { createLogger } from "../../shared/log/log.ts";
import { startControl } from "./control.ts";

const log = createLogger("control");
runService("control", log, () => {
  const settings = loadSettings();
  log.level = settings.LOG_LEVEL;
  return startControl(settings, log);
});
