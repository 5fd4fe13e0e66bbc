/** Forks the collector's command program, hands it one command, and passes on what it tells. */
import { fork } from "node:child_process";
import { join } from "node:path";
import { parentEnvironment, projectRoot } from "../../shared/config/settings.ts";
import { dataMessageSchema, type DataCommand, type DataMessage, type DataReport } from "../../shared/datasets/commands.ts";
import { EverloraError, errorTable, type ErrorCode } from "../../shared/errors/errors.ts";

const program = join(projectRoot, "services", "collector", "command", "child.ts");

/**
 * @param environment on top of this process's own
 * @throws EverloraError as the program named it, or service_failed when it died
 */
export function askCollector<C extends DataCommand["command"]>(command: DataCommand & { command: C }, listen: (message: DataMessage) => void, environment: Record<string, string> = {}): Promise<Extract<DataReport, { command: C }>> {
  const child = fork(program, [], { cwd: projectRoot, execArgv: ["--import", "tsx"], env: { ...parentEnvironment(), ...environment }, stdio: ["ignore", "ignore", "inherit", "ipc"], serialization: "advanced" });
  return new Promise((resolve, reject) => {
    child.on("message", (given: unknown) => {
      const message = dataMessageSchema.parse(given);
      if (message.type === "report" && message.report.command === command.command) resolve(message.report as Extract<DataReport, { command: C }>);
      else if (message.type === "failed") reject(errorOf(message.error));
      else listen(message);
    });
    child.once("error", reject);
    child.once("close", (code, signal) => reject(new EverloraError("service_failed", `The ${command.command} ended early (${signal ?? `exit code ${code}`}).`, { hint: "What was written is whole; run the command again: what is there already is not taken twice." })));
    child.send(command);
  });
}

function errorOf({ code, message, param, hint }: Extract<DataMessage, { type: "failed" }>["error"]): EverloraError {
  const known: ErrorCode = Object.hasOwn(errorTable, code) ? (code as ErrorCode) : "internal_error";
  return new EverloraError(known, message, { hint, ...(param === undefined ? {} : { param }) });
}
