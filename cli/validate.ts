/** `everlora validate`: everything that is wrong with files of conversations, at once. */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { FaultPlace } from "../shared/datasets/commands.ts";
import { askCollector } from "./data/ask.ts";
import { fileProgress } from "./data/progress.ts";
import { placeWords } from "./data/words.ts";
import { command } from "./terminal/report_error.ts";

export function registerValidate(program: Command): void {
  program
    .command("validate")
    .description("say all that is wrong with files of conversations; writes nothing")
    .argument("<files...>", "the formats that import takes")
    .option("--format <name>", "chat, alpaca, sharegpt, pubmedqa, csv, xlsx or parquet; otherwise found out")
    .option("--encoding <name>", "utf-8, utf-16le, utf-16be, latin1 or windows-1252; otherwise found out")
    .option("--json", "one JSON object on stdout, with the faults")
    .addHelpText("after", "\nA line each: file:line:column: what is wrong.\n\nWhat has no lines is told by record and column (Excel's rows and columns, Parquet's rows) or key (PubMedQA).\n\nExit code: 0 nothing is wrong, 1 something is.\n\nExamples:\n  ./everlora validate chats.jsonl faq.csv\n  ./everlora validate legacy.csv --encoding windows-1252\n  ./everlora validate export.jsonl --json | jq '.faults[] | [.file, .at.line, .message]'")
    .action(command(validate));
}

async function validate(files: readonly string[], options: { format?: string; encoding?: string; json?: boolean }): Promise<number> {
  const progress = fileProgress(process.stderr);
  const faults: { file: string; at: FaultPlace; message: string }[] = [];
  const { format, encoding, json } = options;
  const report = await askCollector({ command: "validate", files: files.map((file) => resolve(file)), ...(format === undefined ? {} : { format }), ...(encoding === undefined ? {} : { encoding }) }, (message) => {
    if (message.type === "progress") progress.show(message.what, message.done, message.total, message.records);
    if (message.type !== "fault") return;
    const { file, at, message: words } = message;
    if (json === true) faults.push({ file, at, message: words });
    else {
      progress.clear();
      process.stdout.write(`${placeWords(file, at)}: ${words}\n`);
    }
  }).finally(() => progress.clear());
  if (json === true) process.stdout.write(`${JSON.stringify({ ...report, faults })}\n`);
  else for (const { file, format: found, records, faults: count } of report.files) process.stdout.write(`${file} (${found}): ${records} records, ${count === 0 ? "nothing is wrong" : `${count} with faults`}\n`);
  return report.files.some(({ faults: count }) => count > 0) ? 1 : 0;
}
