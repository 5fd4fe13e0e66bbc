/** CSV (RFC 4180 and its relatives): encoding and delimiter are found out, the header says which column is what. */
import { Readable } from "node:stream";
import { parse, CsvError } from "csv-parse";
import { describeIssues } from "../../../shared/errors/errors.ts";
import { shortRecords } from "./csv_records.ts";
import { decodedText, detectEncoding, encodingNamed, type Encoding } from "./encoding.ts";
import type { FileFormat, Item, ReadOptions } from "./format.ts";
import { fromColumns, mapColumns } from "./shapes.ts";

const longestRecord = 16 * 1024 * 1024;
const delimiters = [",", ";", "\t", "|"];

export const csv: FileFormat = {
  name: "csv",
  about: "CSV or TSV with a header: question and answer (or pergunta, resposta, prompt, response, …), and context, system, domain where there are such columns",
  extensions: [".csv", ".tsv", ".txt"],
  fits: ({ text }) => !/^\s*[[{]/.test(text) && delimiterOf(text) !== null,
  read: readCsv,
};

/** The delimiter that the header has, outside quotes; of several the one that the next lines have as often. */
function delimiterOf(head: string): string | null {
  const lines = splitOutsideQuotes(head).slice(0, 6);
  const [header = "", ...others] = lines;
  let best: string | null = null;
  let bestScore = 0;
  for (const delimiter of delimiters) {
    const columns = countOutsideQuotes(header, delimiter);
    if (columns === 0) continue;
    const agreeing = others.filter((line) => countOutsideQuotes(line, delimiter) === columns).length;
    const score = columns * (1 + 2 * agreeing);
    if (score > bestScore) [best, bestScore] = [delimiter, score];
  }
  return best;
}

function splitOutsideQuotes(text: string): string[] {
  return (text.match(/(?:"(?:[^"]|"")*"|[^\n"])+/g) ?? []).map((line) => line.replace(/\r$/, ""));
}

const countOutsideQuotes = (line: string, delimiter: string) => line.replace(/"(?:[^"]|"")*"/g, "").split(delimiter).length - 1;

async function* readCsv(path: string, { encoding, onBytes }: ReadOptions): AsyncGenerator<Item> {
  const used: Encoding = encoding === undefined ? await detectEncoding(path) : encodingNamed(encoding);
  const delimiter = delimiterOf(await firstText(path, used)) ?? ",";
  const skipped: Item[] = [];
  const records = shortRecords(decodedText(path, used, onBytes), delimiter, longestRecord, (line) => skipped.push({ at: { line, column: 1 }, fault: `a record is longer than ${longestRecord} characters; a quote may be missing` }));
  const parser = Readable.from(records).pipe(
    parse({
      delimiter,
      bom: true,
      info: true,
      trim: false,
      relax_quotes: false,
      relax_column_count: true,
      skip_empty_lines: true,
      skip_records_with_error: true,
      on_skip: (error) => {
        skipped.push({ at: { line: lineOf(error), column: 1 }, fault: csvFault(error) });
        return undefined;
      },
    }),
  );
  let header: string[] | null = null;
  let map: ReturnType<typeof mapColumns> = "";
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      yield* skipped.splice(0);
      const line = info.lines - record.reduce((sum, cell) => sum + (cell.match(/\n/g)?.length ?? 0), 0);
      if (header === null) {
        header = record.map((name) => name.trim());
        const twice = header.find((name, at) => name !== "" && header?.indexOf(name) !== at);
        map = twice === undefined ? mapColumns(header) : `the column ${JSON.stringify(twice.slice(0, 40))} stands twice in the header`;
        if (typeof map === "string") {
          yield { at: { line, column: 1 }, fault: map };
          return;
        }
        continue;
      }
      if (typeof map === "string") return;
      if (record.length !== header.length) {
        yield { at: { line, column: 1 }, fault: `${record.length} cells where the header has ${header.length}` };
        continue;
      }
      const bad = record.findIndex((cell) => cell.includes("\ufffd"));
      if (bad >= 0) {
        yield { at: { line, column: 1, within: header[bad] ?? "" }, fault: "bytes that are not of the file's encoding (or a U+FFFD that was written there)" };
        continue;
      }
      const shaped = fromColumns(Object.fromEntries(header.map((name, at) => [name, record[at] ?? ""])), map);
      yield "draft" in shaped ? { at: { line, column: 1 }, draft: shaped.draft } : { at: { line, column: 1 }, fault: describeIssues(shaped.issues, "record") };
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    skipped.push({ at: { line: lineOf(error), column: 1 }, fault: csvFault(error) });
  }
  yield* skipped;
  if (header === null) yield { at: { line: 1, column: 1 }, fault: "the file holds no records" };
}

async function firstText(path: string, encoding: Encoding): Promise<string> {
  for await (const text of decodedText(path, encoding)) return text.slice(0, 65_536).replace(/^\ufeff/, "");
  return "";
}

const lineOf = (error: unknown) => (error instanceof CsvError && typeof error["lines"] === "number" ? error["lines"] : 1);

/** csv-parse's own words quote the record. */
function csvFault(error: unknown): string {
  const code = error instanceof CsvError ? error.code : "";
  if (code === "CSV_QUOTE_NOT_CLOSED") return "a quote that was opened is never closed";
  if (code === "INVALID_OPENING_QUOTE" || code === "CSV_INVALID_CLOSING_QUOTE") return "a quote stands inside a cell; write it twice, and the cell in quotes";
  return `not CSV (${code})`;
}
