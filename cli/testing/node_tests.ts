/** Runs test files with node:test, each in a process of its own, and turns its events into a tally. */
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { run } from "node:test";
import type { TestEvent } from "node:test/reporters";
import { inspect } from "node:util";
import { projectRoot } from "../../shared/config/settings.ts";
import { newTally, type Tally } from "./tally.ts";

/** A file that takes longer hangs: it left a handle open, or waits for what never comes. */
const fileTimeoutMs = 600_000;

interface FileResult {
  passed: number;
  failed: number;
  skipped: number;
  milliseconds: number;
  output: string;
}

/** Every `*.test.ts` under test/, in the order of their names. */
export async function findTestFiles(): Promise<string[]> {
  const names = await readdir(join(projectRoot, "test"), { recursive: true });
  return names
    .filter((name) => name.endsWith(".test.ts"))
    .sort()
    .map((name) => join(projectRoot, "test", name));
}

/** What one test file said: its own tally, so that a second run of the file can replace the first. */
export interface FileTally extends Tally {
  readonly file: string;
}

/**
 * Runs the files, each in a process of its own, two at a time.
 * @param onFile a line about each file that ended, with the words of what failed: a long run may be cut before its end
 */
export async function runTestFiles(files: readonly string[], onFile: (line: string) => void): Promise<FileTally[]> {
  const results = new Map<string, FileResult>();
  const tallies = new Map<string, FileTally>();
  const resultOf = (file: string): FileResult => {
    const known = results.get(file) ?? { passed: 0, failed: 0, skipped: 0, milliseconds: 0, output: "" };
    results.set(file, known);
    return known;
  };
  const tallyOf = (file: string): FileTally => {
    const known = tallies.get(file) ?? { file, ...newTally() };
    tallies.set(file, known);
    return known;
  };
  let current: string | undefined;
  const finish = (file: string) => {
    const { passed, failed, skipped, milliseconds } = resultOf(file);
    onFile(`${failed === 0 ? "ok  " : "FAIL"}  ${shown(file)}  ${[`${passed} passed`, ...(failed > 0 ? [`${failed} failed`] : []), ...(skipped > 0 ? [`${skipped} skipped`] : [])].join(", ")}  ${(milliseconds / 1000).toFixed(1)} s`);
    for (const { where, words } of tallyOf(file).failures) onFile(`      ${where}\n${words.replaceAll(/^/gm, "        ")}`);
  };
  // Two at a time: the machines that this is meant for have two cores, and some tests start a dozen processes.
  const events: AsyncIterable<TestEvent> = run({ files: [...files], concurrency: 2, timeout: fileTimeoutMs });
  for await (const event of events) {
    if (event.type === "test:stdout" || event.type === "test:stderr") resultOf(event.data.file ?? "").output += event.data.message;
    if (event.type !== "test:pass" && event.type !== "test:fail") continue;
    const { name, details, skip, todo } = event.data;
    const file = event.data.entryFile ?? event.data.file ?? "";
    if (details.type === "suite") continue;
    if (file !== current && current !== undefined) finish(current);
    current = file;
    const result = resultOf(file);
    const tally = tallyOf(file);
    // node:test reports a file by its own name only when it holds no test, could not be loaded, or did not end.
    const isFile = name === file;
    const where = isFile ? shown(file) : `${shown(file)}: ${name}`;
    if (event.data.nesting === 0) result.milliseconds += details.duration_ms;
    if (event.type === "test:fail") {
      result.failed++;
      tally.failures.push({ where, words: `${wordsOf(event.data.details.error)}${isFile ? `\n${result.output.trim()}` : ""}` });
    } else if (skip !== undefined || todo !== undefined) {
      result.skipped++;
      tally.skipped.push({ where, reason: typeof skip === "string" ? skip : typeof todo === "string" ? todo : "no reason given" });
    } else if (isFile) {
      result.failed++;
      tally.failures.push({ where, words: "The file holds no test." });
    } else {
      result.passed++;
      tally.passed++;
    }
  }
  if (current !== undefined) finish(current);
  return [...tallies.values()];
}

const shown = (file: string) => relative(projectRoot, file);

/** The assertion's own words and place; node:test wraps them in an error of its own. */
function wordsOf(error: unknown): string {
  const cause: unknown = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (cause instanceof Error) return inspect(cause, { depth: 6 });
  return typeof cause === "string" ? cause : inspect(cause);
}
