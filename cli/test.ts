/** `everlora test`: lint, types and every test, with one closing line. Continuous integration calls the same. */
import { relative, resolve } from "node:path";
import type { Command } from "commander";
import { projectRoot } from "../shared/config/settings.ts";
import { command } from "./terminal/report_error.ts";
import { findTestFiles, runTestFiles, type FileTally } from "./testing/node_tests.ts";
import { staticChecks } from "./testing/static_checks.ts";
import { closingLine, merge, newTally, type Failure, type Tally } from "./testing/tally.ts";

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
  const { tallies, unsteady } = await runTwiceIfNeeded(chosen, say);
  for (const each of tallies) merge(tally, each);
  report(tally, unsteady, say);
  return tally.failures.length === 0 ? 0 : 1;
}

/**
 * Files with a failure run once more, alone: tests here kill processes and fill queues, and what two files at a time on a busy machine can break is not
 * what a change broke. What passes only then is named as unsteady, with its first failure; what fails twice has failed.
 */
async function runTwiceIfNeeded(files: readonly string[], say: (line: string) => void): Promise<{ tallies: FileTally[]; unsteady: Failure[] }> {
  const tallies: FileTally[] = [];
  const unsteady: Failure[] = [];
  for (const first of await runTestFiles(files, say)) {
    if (first.failures.length === 0 || !files.includes(first.file)) {
      tallies.push(first);
      continue;
    }
    say(`again ${relative(projectRoot, first.file)}`);
    const second = await runTestFiles([first.file], say);
    if (second.length > 0 && second.every(({ failures }) => failures.length === 0)) unsteady.push(...first.failures);
    tallies.push(...second);
  }
  return { tallies, unsteady };
}

function report(tally: Tally, unsteady: readonly Failure[], say: (line: string) => void): void {
  for (const { where, reason } of tally.skipped) say(`skipped: ${where} (${reason})`);
  for (const { where, words } of unsteady) say(`\nunsteady: ${where} passed the second time; the first time:\n${indent(words)}`);
  for (const { where, words } of tally.failures) say(`\nFAIL  ${where}\n${indent(words)}`);
  say("");
  say(closingLine(tally));
}

const indent = (text: string) => text.replaceAll(/^/gm, "    ");
