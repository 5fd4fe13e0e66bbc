/** `everlora forget`: takes rows out of the data, and says which adapters were trained on them. */
import type { Command } from "commander";
import { EverloraError } from "../shared/errors/errors.ts";
import { askCollector } from "./data/ask.ts";
import { countWords } from "./data/words.ts";
import { command } from "./terminal/report_error.ts";

interface Options {
  readonly caller?: readonly string[];
  readonly row?: string;
  readonly match?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function registerForget(program: Command): void {
  program
    .command("forget")
    .description("remove rows from the training data for good, and list the adapters that were trained on them")
    .option("--caller <id>", "rows of this caller: as in the rows, or the user or safety_identifier that the application sent; twice where it sent both", (id: string, before: readonly string[] = []) => [...before, id])
    .option("--row <id>", "the row with this id, or of this conversation")
    .option("--match <text>", "rows in which this text stands (3 characters or more, whatever their case)")
    .option("--dry-run", "say what would be removed, and remove nothing")
    .option("--json", "one JSON object on stdout")
    .addHelpText(
      "after",
      `
Rows are removed from training_data/*/rows.jsonl, from all snapshots, and from the copies under runs/. They are not collected again.
What an adapter has learnt can't be taken out of it: those that were trained on the rows are listed, for you to retire or to train anew.
Of several options all must hold.

Examples:
  ./everlora forget --match "Rua das Acácias" --dry-run
  ./everlora forget --caller alice@example.com
  ./everlora forget --caller alice@example.com --caller 8c1f03   both her user and her safety_identifier
  ./everlora forget --row 3f9a1c0b2d4e5f60718293a4b5c6d7e8`,
    )
    .action(command(forget));
}

async function forget({ caller, row, match, dryRun, json }: Options): Promise<number> {
  if (caller === undefined && row === undefined && match === undefined) throw new EverloraError("unprocessable", "Nothing says which rows to forget.", { hint: "Name --caller, --row or --match." });
  const report = await askCollector({ command: "forget", dryRun: dryRun === true, ...(caller === undefined ? {} : { caller: [...caller] }), ...(row === undefined ? {} : { row }), ...(match === undefined ? {} : { match }) }, () => undefined);
  if (json === true) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return 0;
  }
  const lines = [
    `${report.rows} rows ${dryRun === true ? "would be" : "were"} removed${report.rows > 0 ? ` (${countWords(report.domains)})` : ""}`,
    ...report.files.map((file) => `  also from ${file}`),
    ...report.adapters.map(({ domain, generation, live, run, rows }) => `  adapter ${domain}@${generation}${live ? " (live)" : ""} was trained on ${rows} of them (${run})`),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  return 0;
}
