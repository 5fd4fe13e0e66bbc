/** Anonymises whole files: text, JSON, and JSON lines. What fails is left out and counted, never passed on. */
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import type { Anonymiser } from "./anonymiser.ts";
import { PersonalDataError } from "./anonymiser.ts";
import { normaliseText } from "./normalise.ts";
import { EverloraError } from "../errors/errors.ts";

export interface FileReport {
  /** Lines of JSON, or stretches of text. */
  readonly parts: number;
  /** Parts that are not in the output because the anonymiser failed on them: their numbers, from 1. */
  readonly failed: number[];
  readonly counts: Record<string, number>;
}

/** What is repeated within so many characters of a text is replaced wherever it stands. */
const textPart = 256 * 1024;
const largestJson = 256 * 1024 * 1024;

/**
 * @param write called with pieces of the result, in order
 * @throws EverloraError dataset_invalid when the file can't be read or a .json file is none
 */
export async function anonymiseFile(path: string, anonymiser: Anonymiser, write: (text: string) => void | Promise<void>): Promise<FileReport> {
  const report = { parts: 0, failed: [] as number[], counts: {} as Record<string, number> };
  const extension = extname(path).toLowerCase();
  for await (const { text, end } of extension === ".json" ? wholeJson(path) : partsOf(path, extension === ".jsonl" || extension === ".ndjson" ? 0 : textPart)) {
    report.parts++;
    try {
      const { messages, counts } = anonymiser.conversation({ messages: [{ role: "tool", content: normaliseText(text) }] });
      const content = messages[0]?.content;
      if (typeof content !== "string") throw new PersonalDataError("the anonymiser lost a text");
      for (const [kind, count] of Object.entries(counts)) report.counts[kind] = (report.counts[kind] ?? 0) + count;
      await write(content + end);
    } catch (error) {
      if (!(error instanceof PersonalDataError)) throw error;
      report.failed.push(report.parts);
    }
  }
  return report;
}

interface Part {
  readonly text: string;
  /** What follows it in the file and is no content. */
  readonly end: string;
}

async function* wholeJson(path: string): AsyncGenerator<Part> {
  const text = await readFile(path, "utf8").catch(unreadable(path));
  if (text.length > largestJson) throw new EverloraError("dataset_invalid", `${path} is larger than ${largestJson} characters.`, { hint: "Write it as .jsonl, one value a line." });
  try {
    JSON.parse(text);
  } catch {
    throw new EverloraError("dataset_invalid", `${path} is not JSON.`, { hint: "Name it .txt to have it read as plain text." });
  }
  yield { text, end: "\n" };
}

/** Whole lines, as many as fit into `size` characters; 0: each line for itself. */
async function* partsOf(path: string, size: number): AsyncGenerator<Part> {
  let rest = "";
  const stream = createReadStream(path, { encoding: "utf8", highWaterMark: 1 << 18 });
  try {
    for await (const chunk of stream as AsyncIterable<string>) {
      rest += chunk;
      for (let end = rest.indexOf("\n", size); end >= 0; end = rest.indexOf("\n", size)) {
        yield { text: rest.slice(0, end), end: "\n" };
        rest = rest.slice(end + 1);
      }
    }
  } catch (error) {
    unreadable(path)(error);
  }
  const text = rest.trimEnd();
  if (rest !== "") yield { text, end: rest.slice(text.length) };
}

const unreadable = (path: string) => (error: unknown): never => {
  if (error instanceof EverloraError || error instanceof PersonalDataError) throw error;
  throw new EverloraError("dataset_invalid", `${path} can't be read: ${error instanceof Error && "code" in error ? String(error.code) : "unknown error"}.`, { hint: "Name a readable file." });
};
