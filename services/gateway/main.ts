/** The gateway as a process: `node --import tsx services/gateway/main.ts`. */
import { runService } from "../../shared/config/lifecycle.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { createLogger } from "../../shared/log/log.ts";
import { startGateway } from "./gateway.ts";

const log = createLogger("gateway");
runService("gateway", log, async () => {
  const settings = loadSettings();
  log.level = settings.LOG_LEVEL;
  return startGateway(settings, log);
});
