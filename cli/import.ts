/** `everlora import`: conversations of files into the training data, through the same pipeline as live traffic. */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { ImportReport } from "../shared/datasets/commands.ts";
import { askCollector } from "./data/ask.ts";
import { fileProgress } from "./data/progress.ts";
import { countWords, placeWords } from "./data/words.ts";
import { command } from "./terminal/report_error.ts";

interface Options {
  readonly format?: string;
  readonly encoding?: string;
  readonly domain?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function registerImport(program: Command): void {
  program
    .command("import")
    .description("take conversations of files into the training data")
    .argument("<files...>", "chat JSONL, Alpaca, ShareGPT, PubMedQA, CSV, Excel or Parquet")
    .option("--format <name>", "chat, alpaca, sharegpt, pubmedqa, csv, xlsx or parquet; otherwise found out")
    .option("--encoding <name>", "utf-8, utf-16le, utf-16be, latin1 or windows-1252; otherwise found out")
    .option("--domain <name>", "put all rows into this domain instead of sorting them")
    .option("--dry-run", "say what would become of each record, write nothing")
    .option("--json", "one JSON object on stdout")
    .addHelpText(
      "after",
      `
Every record is anonymised, judged, compared with what is there, and sorted into a domain. What is wrong is named with its line and
column (stderr), the good records are kept. To import a file twice is to import it once. If everlora is running, its collector does the work.

Exit code: 0 all records could be read, 1 some could not or the command failed.

Examples:
  ./everlora import chats.jsonl
  ./everlora import ori_pqal.json --domain medical
  ./everlora import faq.xlsx faq_en.csv --dry-run`,
    )
    .action(command(runImport));
}

async function runImport(files: readonly string[], options: Options): Promise<number> {
  const progress = fileProgress(process.stderr);
  const { format, encoding, domain } = options;
  const report = await askCollector(
    { command: "import", files: files.map((file) => resolve(file)), dryRun: options.dryRun === true, ...(format === undefined ? {} : { format }), ...(encoding === undefined ? {} : { encoding }), ...(domain === undefined ? {} : { domain }) },
    (message) => {
      if (message.type === "progress") progress.show(message.what, message.done, message.total, message.records);
      if (message.type !== "fault") return;
      progress.clear();
      process.stderr.write(`${placeWords(message.file, message.at)}: ${message.message}\n`);
    },
  ).finally(() => progress.clear());
  process.stdout.write(options.json === true ? `${JSON.stringify(report)}\n` : `${lines(report).join("\n")}\n`);
  return report.files.some(({ faults }) => faults > 0) ? 1 : 0;
}

function lines({ files, dryRun }: ImportReport): string[] {
  return files.flatMap(({ file, format, records, faults, outcome }) => [
    `${file} (${format}): ${records} records, ${outcome.rows} ${dryRun ? "would become rows" : "became rows"}, ${outcome.dropped} dropped, ${outcome.known} known already, ${faults} unreadable`,
    ...(outcome.rows > 0 ? [`  domains: ${countWords(outcome.domains)}`] : []),
    ...(outcome.dropped > 0 ? [`  dropped: ${countWords(outcome.reasons)}`] : []),
    ...(Object.keys(outcome.anonymised).length > 0 ? [`  anonymised: ${countWords(outcome.anonymised)}`] : []),
  ]);
}
