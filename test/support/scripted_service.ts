/**
 * A service that does as SCRIPTED_<NAME> says, for tests of what supervises services. It runs under the same lifecycle as a real one.
 * Modes: ok (default), crash (exit 7 at once), crash-once:<file> (crash unless the file is there, make it), late-crash (ready, then exit 7),
 * late-crash-once:<file>, late-bad-settings:<file> (the same, and then bad settings), bad-settings, port-in-use, stubborn (ignores SIGTERM), silent (never ready), chatty (logs all the time, and a lot at its end).
 */
import { existsSync, writeFileSync } from "node:fs";
import { runService } from "../../shared/config/lifecycle.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { createLogger } from "../../shared/log/log.ts";

const name = process.env["SCRIPTED_NAME"] ?? process.argv[1]?.replace(/.*\/(\w+)\.ts$/, "$1") ?? "service";
const [mode = "ok", file = ""] = (process.env[`SCRIPTED_${name.toUpperCase()}`] ?? "ok").split(":");
const log = createLogger(name);
const first = () => {
  if (existsSync(file)) return false;
  writeFileSync(file, "");
  return true;
};

if (mode === "crash" || (mode === "crash-once" && first())) {
  process.stderr.write("Error: boom\n    at nowhere\n");
  process.exit(7);
}
if (mode === "stubborn") {
  log.info("stubborn");
  process.on("SIGTERM", () => log.info("not yet"));
  process.send?.({ type: "ready", url: "http://stubborn", details: {} });
  setInterval(() => undefined, 1_000);
} else {
  runService(name, log, async () => {
    const firstTime = (mode === "late-crash-once" || mode === "late-bad-settings") && first();
    if (mode === "bad-settings" || (mode === "late-bad-settings" && !firstTime)) throw new EverloraError("invalid_settings", 'LORA_RANK="0": too small', { param: "LORA_RANK" });
    if (mode === "port-in-use") throw new EverloraError("port_in_use", "GATEWAY_PORT=1: another program listens there.", { param: "GATEWAY_PORT", hint: "Choose another." });
    const alive = setInterval(() => (mode === "chatty" ? log.info("and then") : undefined), mode === "chatty" ? 1 : 1_000);
    if (mode === "silent") await new Promise(() => undefined);
    if (mode === "late-crash" || firstTime) setTimeout(() => process.exit(7), 50);
    return {
      url: `http://${name}`,
      details: { [`${name}_pid`]: String(process.pid) },
      close: async () => {
        clearInterval(alive);
        if (mode === "chatty") for (let line = 0; line < 1_000; line++) log.info("one more thing");
        log.info("closed");
      },
    };
  });
}
