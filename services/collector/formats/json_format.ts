/** The formats that are JSON: each value is checked as text (json_text.ts), parsed, and given its meaning (shapes.ts). Faults have line and column. */
import { describeIssues } from "../../../shared/errors/errors.ts";
import { decodedText, detectEncoding, encodingNamed, readHead } from "./encoding.ts";
import type { FileFormat, Item, Place, ReadOptions } from "./format.ts";
import { checkJson, offsetOf } from "./json_text.ts";
import { longestValue, readValues, type RawValue, type Shape } from "./json_values.ts";
import type { ShapeOf } from "./shapes.ts";

/** @param shape how the file holds its records; undefined: an array where it begins with "[", else lines */
export function jsonFormat(facts: Pick<FileFormat, "name" | "about" | "extensions" | "fits">, shapeOf: ShapeOf, shape?: Shape): FileFormat {
  return { ...facts, read: (path, options) => readJson(path, options, shapeOf, shape) };
}

async function* readJson(path: string, { encoding, onBytes }: ReadOptions, shapeOf: ShapeOf, given: Shape | undefined): AsyncGenerator<Item> {
  const used = encoding === undefined ? await detectEncoding(path) : encodingNamed(encoding);
  const shape = given ?? ((await firstCharacter(path)) === "[" ? "elements" : "lines");
  const keys = new Set<string>();
  let values = 0;
  for await (const value of readValues(decodedText(path, used, onBytes), shape)) {
    values++;
    if (value.key !== undefined && keys.has(value.key)) {
      yield { at: { line: value.line, column: value.column, within: value.key }, fault: "this key stands twice in the file; the first one counts" };
      continue;
    }
    if (value.key !== undefined) keys.add(value.key);
    yield itemOf(value, shapeOf);
  }
  if (values === 0) yield { at: { line: 1, column: 1 }, fault: "the file holds no records" };
}

async function firstCharacter(path: string): Promise<string | undefined> {
  const head = await readHead(path);
  return /[^\s\0\ufeff\u00ef\u00bb\u00bf\u00ff\u00fe]/.exec(head.toString("latin1"))?.[0];
}

function itemOf({ text, line, column, key }: RawValue, shapeOf: ShapeOf): Item {
  const within = key === undefined ? {} : { within: key };
  if (text === null) return { at: { line, column, ...within }, fault: `longer than ${longestValue} characters; it is skipped` };
  const place = (offset: number): Place => ({ ...placeIn(text, offset, line, column), ...within });
  const bad = text.indexOf("\ufffd");
  if (bad >= 0) return { at: place(bad), fault: "bytes that are not of the file's encoding (or a U+FFFD that was written there)" };
  const fault = checkJson(text);
  if (fault !== null) return { at: place(fault.offset), fault: `not JSON: ${fault.message}` };
  const shaped = shapeOf(JSON.parse(text), key);
  if ("draft" in shaped) return { at: place(0), draft: shaped.draft };
  return { at: place(offsetOf(text, shaped.issues[0]?.path ?? [])), fault: describeIssues(shaped.issues, "record") };
}

function placeIn(text: string, offset: number, line: number, column: number): Place {
  const before = text.slice(0, offset);
  const newlines = before.split("\n").length - 1;
  return newlines === 0 ? { line, column: column + offset } : { line: line + newlines, column: offset - before.lastIndexOf("\n") };
}
