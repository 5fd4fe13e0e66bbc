/** `everlora test`: lint, types and every test, with one closing line. Continuous integration calls the same. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { command } from "./terminal/report_error.ts";
import { findTestFiles, runTestFiles } from "./testing/node_tests.ts";
import { staticChecks } from "./testing/static_checks.ts";
import { closingLine, merge, newTally, type Tally } from "./testing/tally.ts";

export function registerTest(program: Command): void {
  program
    .command("test")
    .description("lint, types, and every test; ends with 'N passed, N failed, N skipped'")
    .argument("[files...]", "only these test files, without lint and types")
    .addHelpText("after", "\nThe tests start the Redis servers that they need and touch no other.\n\nExamples:\n  ./everlora test\n  ./everlora test test/gateway/*.test.ts")
    .action(command(test));
}

async function test(files: readonly string[]): Promise<number> {
  const tally = newTally();
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  if (files.length === 0) merge(tally, await staticChecks(say));
  const chosen = files.length === 0 ? await findTestFiles() : files.map((file) => resolve(file));
  merge(tally, await runTestFiles(chosen, say));
  report(tally, say);
  return tally.failures.length === 0 ? 0 : 1;
}

function report(tally: Tally, say: (line: string) => void): void {
  for (const { where, reason } of tally.skipped) say(`skipped: ${where} (${reason})`);
  for (const { where, words } of tally.failures) say(`\nFAIL  ${where}\n${indent(words)}`);
  say("");
  say(closingLine(tally));
}

const indent = (text: string) => text.replaceAll(/^/gm, "    ");
