/** `npm run bench -- NAME... [--option value]`: runs benches one after the other. One JSON line per case on stdout, words on stderr. */
import { parseArgs } from "node:util";
import { createContext } from "./bench.ts";
import { benches } from "./cases/cases.ts";

const { names, options, help } = readArguments(process.argv.slice(2));
const unknown = names.filter((name) => !benches.some((bench) => bench.name === name));
if (help || names.length === 0 || unknown.length > 0) {
  if (unknown.length > 0) process.stderr.write(`No bench is called ${unknown.join(", ")}.\n`);
  process.stderr.write(`npm run bench -- NAME... [--option value]\n\n${benches.map(({ name, about }) => `  ${name.padEnd(12)}${about}`).join("\n")}\n\nEach prints one JSON line per case. Run nothing else meanwhile.\n`);
  process.exitCode = unknown.length > 0 || !help ? 2 : 0;
} else {
  for (const bench of benches.filter(({ name }) => names.includes(name))) {
    const context = createContext(bench, options, (line) => process.stdout.write(`${line}\n`), (text) => process.stderr.write(`${text}\n`));
    await bench.run(context);
  }
}

function readArguments(words: string[]): { names: string[]; options: Map<string, string>; help: boolean } {
  const { positionals, tokens } = parseArgs({ args: words, strict: false, allowPositionals: true, tokens: true });
  const options = new Map<string, string>();
  const values = new Set<string>();
  for (const [at, token] of tokens.entries()) {
    if (token.kind !== "option") continue;
    const next = tokens[at + 1];
    // parseArgs knows no types here: the word behind an option is its value.
    const value = token.value ?? (next?.kind === "positional" ? next.value : "true");
    if (token.value === undefined && next?.kind === "positional") values.add(String(next.index));
    options.set(token.name, value);
  }
  const names = tokens.filter((token) => token.kind === "positional" && !values.has(String(token.index))).map((token) => (token.kind === "positional" ? token.value : ""));
  return { names, options, help: options.has("help") || (positionals.length === 0 && words.length === 0) };
}
