/** What the tests of the commands about data share: a folder of their own, the command as a user runs it, and conversations to import. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { importReportSchema, type ImportReport } from "../../shared/datasets/commands.ts";
import { textOf } from "../../shared/events/conversation.ts";
import { aboutLaw } from "../collector/support.ts";
import { everlora } from "../support/command_line.ts";
import { temporaryFolder } from "../support/folder.ts";

export const newData = (t: TestContext) => temporaryFolder(t, "data");

export async function run(data: string, parameters: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const running = everlora(parameters, { DATA_DIR: data, ...environment });
  const code = await running.ended;
  return { code, stdout: running.stdout(), stderr: running.stderr() };
}

/** `import --json`, and what it said of each file. */
export async function importJson(data: string, parameters: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<ImportReport & { readonly code: number | string | null; readonly stderr: string }> {
  const { code, stdout, stderr } = await run(data, ["import", ...parameters, "--json"], environment);
  assert.notEqual(stdout, "", stderr);
  return { ...importReportSchema.parse(JSON.parse(stdout)), code, stderr };
}

/** [question, answer] of the n-th conversation about law. */
export function lawPair(number: number): [question: string, answer: string] {
  const { messages, answer } = aboutLaw(number);
  return [messages.map(textOf).join(), textOf(answer)];
}

export function chatLine(number: number): string {
  const { messages, answer } = aboutLaw(number);
  return JSON.stringify({ messages: [...messages, answer] });
}
