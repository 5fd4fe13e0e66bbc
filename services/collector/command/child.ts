/** The collector's work as one command of the command line: forked with an IPC channel, told one command, gone when it is done. */
import type { DataMessage } from "../../../shared/datasets/commands.ts";
import { runCommand } from "./run.ts";

const tell = (message: DataMessage) =>
  new Promise<void>((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else process.send(message, () => resolve());
  });

process.once("message", (command: unknown) => {
  void runCommand(command, tell).finally(() => process.exit(0));
});
process.once("disconnect", () => process.exit(1)); // nobody is left to tell
