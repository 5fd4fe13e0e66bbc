/** `everlora anonymise FILE`: the collector's anonymiser on one file, for people who want to see what it does or need nothing else. */
import { open } from "node:fs/promises";
import type { Command } from "commander";
import { loadSettings } from "../shared/config/settings.ts";
import { command } from "./terminal/report_error.ts";
import { table } from "./terminal/table.ts";

interface Options {
  readonly out?: string;
  readonly json?: boolean;
  readonly surrogates?: boolean;
}

export function registerAnonymise(program: Command): void {
  program
    .command("anonymise")
    .description("replace personal data in a text, JSON or JSON-lines file")
    .argument("<file>", "what ends in .jsonl or .ndjson is read line by line, .json as one value, anything else as text")
    .option("--out <file>", "write the result there instead of on stdout")
    .option("--surrogates", "made-up values instead of placeholders like [CPF]")
    .option("--json", "one JSON object on stdout: the counts and, without --out, the text")
    .addHelpText("after", "\nRecognisers of your own: recognisers.json in DATA_DIR (docs/privacy.md).\n\nExit code: 0 done, 1 some parts could not be anonymised and were left out.\n\nExamples:\n  ./everlora anonymise tickets.txt > clean.txt\n  ./everlora anonymise chats.jsonl --surrogates --out clean.jsonl")
    .action(command(anonymise));
}

async function anonymise(file: string, { out, json, surrogates }: Options): Promise<number> {
  const settings = loadSettings();
  const [{ anonymiseFile }, { openAnonymiser }] = await Promise.all([import("../shared/anonymise/files.ts"), import("../shared/anonymise/open.ts")]);
  const anonymiser = await openAnonymiser({ ...settings, ...(surrogates === true ? { ANONYMISE_AS: "surrogates" } : {}) });
  const pieces: string[] = [];
  const sink = out === undefined ? null : await open(out, "wx", 0o600);
  const report = await anonymiseFile(file, anonymiser, async (text) => {
    if (sink !== null) await sink.writeFile(text);
    else if (json === true) pieces.push(text);
    else process.stdout.write(text);
  }).finally(() => sink?.close());
  if (json === true) process.stdout.write(`${JSON.stringify({ file, ...report, ...(out === undefined ? { text: pieces.join("") } : { out }) })}\n`);
  else process.stderr.write(`${words(report.counts, report.failed)}\n`);
  return report.failed.length === 0 ? 0 : 1;
}

function words(counts: Readonly<Record<string, number>>, failed: readonly number[]): string {
  const rows = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const lines = rows.length === 0 ? ["Nothing personal was found."] : table([{ title: "kind" }, { title: "replaced", align: "right" }], rows.map(([kind, count]) => [kind, String(count)]));
  if (failed.length > 0) lines.push(`Left out, because the anonymiser failed on them: parts ${failed.slice(0, 20).join(", ")}${failed.length > 20 ? ", …" : ""}`);
  return lines.join("\n");
}
