/** `everlora validate`: reads files as an import would and writes nothing. Everything that is wrong is named at once. */
import type { DataCommand, DataReport } from "../../../shared/datasets/commands.ts";
import { readFile } from "./read.ts";
import type { Tell } from "./run.ts";

type Command = Extract<DataCommand, { command: "validate" }>;

export async function validateFiles(command: Command, tell: Tell): Promise<DataReport> {
  const began = performance.now();
  const files = [];
  for (const file of command.files) {
    const { format, records, faults } = await readFile(file, command, tell, async () => undefined);
    files.push({ file, format, records, faults });
  }
  return { command: "validate", files, seconds: (performance.now() - began) / 1_000 };
}
