/** `everlora export`: a domain's rows as a file that other programs read. */
import { once } from "node:events";
import { resolve } from "node:path";
import { Option, type Command } from "commander";
import { pathsOf } from "../shared/config/paths.ts";
import { loadSettings } from "../shared/config/settings.ts";
import { exportFile, exportFormats, exportText, type ExportName, type ExportRequest } from "../shared/datasets/export.ts";
import { windowOf } from "../shared/datasets/window.ts";
import { loadDomains, requireDomain } from "../shared/domains/domains.ts";
import { EverloraError } from "../shared/errors/errors.ts";
import { command } from "./terminal/report_error.ts";

interface Options {
  readonly domain: string;
  readonly format: ExportName;
  readonly out?: string;
  readonly split?: "train" | "held-out";
  readonly days?: string;
  readonly json?: boolean;
}

const names = Object.keys(exportFormats) as ExportName[];

export function registerExport(program: Command): void {
  program
    .command("export")
    .description("write a domain's rows for other programs")
    .requiredOption("--domain <name>", "the domain")
    .addOption(new Option("--format <name>", names.map((name) => `${name}: ${exportFormats[name].about}`).join("; ")).choices(names).default("chat"))
    .option("--out <file>", "where to; otherwise to stdout")
    .addOption(new Option("--split <side>", "only rows of this side of the split").choices(["train", "held-out"]))
    .option("--days <n>", "only rows of the last n days (default: TRAINING_DATA_DAYS)")
    .option("--json", "with --out: one JSON object with the counts on stdout")
    .addHelpText("after", "\nRows are anonymised already. Import takes chat and alpaca files back.\n\nExamples:\n  ./everlora export --domain legal --out legal.jsonl\n  ./everlora export --domain medical --format delimited --split train > medical.txt")
    .action(command(exportRows));
}

async function exportRows(options: Options): Promise<number> {
  const settings = loadSettings();
  const { domain, format, split, out } = options;
  requireDomain(domain, loadDomains(settings.DATA_DIR));
  const days = options.days === undefined ? settings.TRAINING_DATA_DAYS : Number(options.days);
  if (!(days > 0)) throw new EverloraError("unprocessable", `--days ${options.days ?? ""} is not a number above 0.`, { param: "days" });
  const request: ExportRequest = { trainingData: pathsOf(settings).trainingData, domain, format, window: windowOf(days, Date.now()), ...(split === undefined ? {} : { split }) };
  if (out === undefined) {
    const counts = { rows: 0, skipped: 0 };
    for await (const text of exportText(request, counts)) if (!process.stdout.write(text)) await once(process.stdout, "drain");
    process.stderr.write(`${wordsOf(domain, counts)}\n`);
    return 0;
  }
  const counts = await exportFile(request, resolve(out));
  process.stdout.write(options.json === true ? `${JSON.stringify({ domain, format, file: resolve(out), ...counts })}\n` : `${resolve(out)}: ${wordsOf(domain, counts)}\n`);
  return 0;
}

const wordsOf = (domain: string, { rows, skipped }: { rows: number; skipped: number }) => `${rows} rows of ${domain}${skipped > 0 ? `; ${skipped} with tool calls left out, which this format can't say` : ""}`;
