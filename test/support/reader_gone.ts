/** Logs once it is told that its reader is gone (its stdin closes), and then ends in order. */
import { createLogger } from "../../shared/log/log.ts";

const log = createLogger("orphan");
log.info("started");
process.stdin.resume().once("end", () => {
  for (let line = 0; line < 100; line++) log.info({ line }, "nobody reads this");
  process.exit(7);
});
