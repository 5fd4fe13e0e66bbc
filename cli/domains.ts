/** `everlora domains`: what the table of domains is, how it sorts a sentence and why, and which words would make good keywords. */
import type { Command } from "commander";
import { pathsOf } from "../shared/config/paths.ts";
import { loadSettings } from "../shared/config/settings.ts";
import { explain } from "../shared/domains/classify.ts";
import { loadDomains, requireDomain } from "../shared/domains/domains.ts";
import { suggestKeywords } from "../shared/domains/suggest.ts";
import { command } from "./terminal/report_error.ts";
import { table } from "./terminal/table.ts";

export function registerDomains(program: Command): void {
  const domains = program.command("domains").description("the domains: list them, test how a sentence is sorted, find keywords").enablePositionalOptions();
  const json = ["--json", "one JSON value on stdout"] as const;
  domains.command("list", { isDefault: true }).description("every domain with its keywords' number and its settings").option(...json).action(command(list));
  domains.command("test").description("how a sentence is sorted, and by which keywords").argument("<sentence...>").option(...json).action(command(test));
  domains
    .command("suggest")
    .description("words that set a domain's collected rows apart from the others', for domains.json")
    .argument("<domain>")
    .option("--count <n>", "how many", "25")
    .option(...json)
    .action(command(suggest));
  domains.addHelpText("after", '\nExamples:\n  ./everlora domains\n  ./everlora domains test "my landlord wants to evict me"\n  ./everlora domains suggest medical\n\nYour own domains: domains.json in DATA_DIR (docs/settings.md).');
}

const print = (lines: readonly string[]) => void process.stdout.write(`${lines.join("\n")}\n`);

async function list(options: { json?: boolean }): Promise<number> {
  const settings = loadSettings();
  const rows = loadDomains(settings.DATA_DIR).map(({ name, description, keywords, minExamples, minScore, overrides }) => ({
    name,
    description,
    keywords: Object.values(keywords).reduce((sum, list) => sum + Object.keys(list ?? {}).length, 0),
    minExamples: minExamples ?? settings.MIN_EXAMPLES_PER_DOMAIN,
    ...(minScore === undefined ? {} : { minScore }),
    ...(overrides === undefined ? {} : { overrides }),
  }));
  if (options.json === true) print([JSON.stringify(rows)]);
  else print(table([{ title: "domain" }, { title: "keywords", align: "right" }, { title: "rows to train", align: "right" }, { title: "about" }], rows.map((row) => [row.name, String(row.keywords), String(row.minExamples), row.description])));
  return 0;
}

async function test(words: readonly string[], options: { json?: boolean }): Promise<number> {
  const { classification, evidence } = explain(words.join(" "), loadDomains(loadSettings().DATA_DIR));
  if (options.json === true) {
    print([JSON.stringify({ ...classification, evidence })]);
    return 0;
  }
  const { domain, score, abstained, language, probability } = classification;
  const by = probability !== undefined ? `the trained classifier is sure to ${(probability * 100).toFixed(0)} %` : abstained ? "no domain was sure enough" : `keywords gave it ${score} points`;
  print([`${domain}: ${by}; language ${language}`, ...(evidence.length === 0 ? ["no keyword was found"] : table([{ title: "domain" }, { title: "keyword" }, { title: "times", align: "right" }, { title: "points", align: "right" }], evidence.map((found) => [found.domain, found.keyword, String(found.count), String(Math.round(found.points * 100) / 100)])))]);
  return 0;
}

async function suggest(name: string, options: { count: string; json?: boolean }): Promise<number> {
  const settings = loadSettings();
  const domains = loadDomains(settings.DATA_DIR);
  const suggestions = await suggestKeywords(pathsOf(settings).trainingData, requireDomain(name, domains), domains, Math.max(1, Number(options.count) || 25));
  if (options.json === true) print([JSON.stringify(suggestions)]);
  else if (suggestions.length === 0) print([`No word sets ${name} apart yet: collect more rows, of this domain and of others.`]);
  else print(table([{ title: "word" }, { title: "rows", align: "right" }, { title: "elsewhere", align: "right" }, { title: "log-odds (z)", align: "right" }], suggestions.map(({ word, rows, elsewhere, z }) => [word, String(rows), String(elsewhere), z.toFixed(1)])));
  return 0;
}
