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

type Ended = Extract<TestEvent, { type: "test:pass" | "test:fail" }>;
interface FileResult extends FileTally {
  milliseconds: number;
}

/**
 * Runs the files, each in a process of its own, two at a time.
 * @param onFile a line about each file that ended, with the words of what failed: a long run may be cut before its end
 */
export async function runTestFiles(files: readonly string[], onFile: (line: string) => void): Promise<FileTally[]> {
  const results = new Map<string, FileResult>();
  const outputs = new Map<string, string>();
  let current: FileResult | undefined;
  // Two at a time: the machines that this is meant for have two cores, and some tests start a dozen processes.
  const events: AsyncIterable<TestEvent> = run({ files: [...files], concurrency: 2, timeout: fileTimeoutMs });
  for await (const event of events) {
    if (event.type === "test:stdout" || event.type === "test:stderr") outputs.set(event.data.file ?? "", (outputs.get(event.data.file ?? "") ?? "") + event.data.message);
    if ((event.type !== "test:pass" && event.type !== "test:fail") || event.data.details.type === "suite") continue;
    const file = event.data.entryFile ?? event.data.file ?? "";
    if (current !== undefined && current.file !== file) report(current, onFile);
    current = results.get(file) ?? { file, milliseconds: 0, ...newTally() };
    results.set(file, current);
    count(event, current, outputs.get(file) ?? "");
  }
  if (current !== undefined) report(current, onFile);
  return [...results.values()];
}

function count(event: Ended, into: FileResult, output: string): void {
  const { name, details, nesting, skip, todo } = event.data;
  // node:test reports a file by its own name only when it holds no test, could not be loaded, or did not end.
  const isFile = name === into.file;
  const where = isFile ? shown(into.file) : `${shown(into.file)}: ${name}`;
  if (nesting === 0) into.milliseconds += details.duration_ms;
  if (event.type === "test:fail") into.failures.push({ where, words: `${wordsOf(event.data.details.error)}${isFile ? `\n${output.trim()}` : ""}` });
  else if (skip !== undefined || todo !== undefined) into.skipped.push({ where, reason: [skip, todo].find((reason) => typeof reason === "string") ?? "no reason given" });
  else if (isFile) into.failures.push({ where, words: "The file holds no test." });
  else into.passed++;
}

function report({ file, passed, failures, skipped, milliseconds }: FileResult, onFile: (line: string) => void): void {
  const counts = [`${passed} passed`, ...(failures.length > 0 ? [`${failures.length} failed`] : []), ...(skipped.length > 0 ? [`${skipped.length} skipped`] : [])].join(", ");
  onFile(`${failures.length === 0 ? "ok  " : "FAIL"}  ${shown(file)}  ${counts}  ${(milliseconds / 1000).toFixed(1)} s`);
  for (const { where, words } of failures) onFile(`      ${where}\n${words.replaceAll(/^/gm, "        ")}`);
}

const shown = (file: string) => relative(projectRoot, file);

/** The assertion's own words and place; node:test wraps them in an error of its own. */
function wordsOf(error: unknown): string {
  const cause: unknown = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (cause instanceof Error) return inspect(cause, { depth: 6 });
  return typeof cause === "string" ? cause : inspect(cause);
}
