/** Runs one command and says how it ended. What goes wrong becomes a message with a code and a hint; a defect of ours keeps its stack on stderr. */
import { loadSettings } from "../../../shared/config/settings.ts";
import { dataCommandSchema, type DataMessage, type DataReport } from "../../../shared/datasets/commands.ts";
import { EverloraError, toEverloraError } from "../../../shared/errors/errors.ts";
import { createLogger } from "../../../shared/log/log.ts";

export type Tell = (message: DataMessage) => Promise<void>;

export async function runCommand(given: unknown, tell: Tell): Promise<void> {
  try {
    const command = dataCommandSchema.parse(given);
    const settings = loadSettings();
    const log = createLogger("collector");
    log.level = "silent"; // stdout belongs to the command line
    // Each brings its own modules: an import needs no Redis client, and reading files no collector.
    const work = async (): Promise<DataReport> => {
      if (command.command === "import") return (await import("./import.ts")).importFiles(command, settings, log, tell);
      if (command.command === "validate") return (await import("./validate.ts")).validateFiles(command, tell);
      if (command.command === "collect") return (await import("./collect.ts")).collect(command, settings, log, tell);
      return (await import("./forget.ts")).forget(command, settings, log);
    };
    await tell({ type: "report", report: await work() });
  } catch (thrown) {
    if (!(thrown instanceof EverloraError)) process.stderr.write(`${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`);
    const { code, message, param, hint } = explain(thrown);
    await tell({ type: "failed", error: { code, message, hint, ...(param === undefined ? {} : { param }) } });
  }
}

function explain(thrown: unknown): EverloraError {
  if (thrown instanceof Error && "code" in thrown && (thrown.code === "ENOSPC" || thrown.code === "EDQUOT")) {
    return new EverloraError("disk_full", `The disk is full: ${thrown.message}. What was written before is whole; nothing is half-written.`, { hint: "Free space on the disk of DATA_DIR and run the command again: what is there already is not taken twice." });
  }
  return toEverloraError(thrown);
}
