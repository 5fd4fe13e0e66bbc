/** Entry of the gateway process of tests: as services/gateway/main.ts, with the scripted engine. */
import { runService } from "../../../shared/config/lifecycle.ts";
import { loadSettings } from "../../../shared/config/settings.ts";
import { createLogger } from "../../../shared/log/log.ts";
import { startGateway } from "../../../services/gateway/gateway.ts";
import { fakeEngine } from "./gateway.ts";

const settings = loadSettings();
const log = createLogger("gateway", settings.LOG_LEVEL);
runService("gateway", log, () => startGateway(settings, log, { engineScript: fakeEngine }));
