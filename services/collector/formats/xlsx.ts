/**
 * Excel workbooks (ECMA-376, SpreadsheetML): the first visible sheet, whose first row names the columns. Read as streams and with limits, because a workbook is a
 * zip and a zip can unpack to anything. A formula counts as its last computed value; one that was never computed, or failed, is named.
 */
import { finished } from "node:stream/promises";
import type { Readable } from "node:stream";
import type { SaxesParser } from "saxes";
import * as yauzl from "yauzl";
import { describeIssues, messageOf } from "../../../shared/errors/errors.ts";
import type { FileFormat, Item, ReadOptions } from "./format.ts";
import { fromColumns, mapColumns, type ColumnMap } from "./shapes.ts";
import { fillDown, mergesIn, type Merge } from "./xlsx_merges.ts";
import { readSharedStrings, readSheet, readStyles, readWorkbook, type Cell } from "./xlsx_parts.ts";
import { noStyles, type Styles } from "./xlsx_styles.ts";

/** Unpacked bytes of all parts that are read: ten times a very large workbook. */
const mostBytes = 512 * 1024 * 1024;
/** Deflate can't do much better than 1,000 for real XML; a bomb does exactly that. */
const largestRatio = 200;
const ratioFrom = 16 * 1024 * 1024;

export const xlsx: FileFormat = {
  name: "xlsx",
  about: "Excel: the first visible sheet, with a header as in CSV",
  extensions: [".xlsx", ".xlsm"],
  fits: ({ bytes }) => bytes[0] === 0x50 && bytes[1] === 0x4b,
  read: readXlsx,
};

class Refused extends Error {}

async function* readXlsx(path: string, { onBytes }: ReadOptions): AsyncGenerator<Item> {
  let book: Book;
  try {
    book = await openBook(path);
  } catch (error) {
    yield { at: { record: 1 }, fault: `not an Excel workbook: ${messageOf(error)}` };
    return;
  }
  try {
    yield* readRows(book, await readBook(book), onBytes);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    yield { at: { record: 1 }, fault: error instanceof Refused ? error.message : `the workbook can't be read: ${error.message}` };
  } finally {
    book.zip.close();
  }
}

interface Book {
  readonly zip: yauzl.ZipFile;
  readonly entries: ReadonlyMap<string, yauzl.Entry>;
  /** Unpacked so far. */
  bytes: number;
}

async function openBook(path: string): Promise<Book> {
  const zip = await new Promise<yauzl.ZipFile>((resolve, reject) => yauzl.open(path, { lazyEntries: true, autoClose: false, validateEntrySizes: true }, (error, opened) => (error === null ? resolve(opened) : reject(error))));
  const entries = new Map<string, yauzl.Entry>();
  try {
    await new Promise<void>((resolve, reject) => {
      zip.on("entry", (entry: yauzl.Entry) => {
        if (entries.size >= 10_000) reject(new Refused("it has more than 10000 parts"));
        entries.set(entry.fileName, entry);
        zip.readEntry();
      });
      zip.once("end", resolve);
      zip.once("error", reject);
      zip.readEntry();
    });
  } catch (error) {
    zip.close();
    throw error;
  }
  return { zip, entries, bytes: 0 };
}

interface Sheet {
  readonly name: string;
  readonly path: string;
  readonly strings: readonly string[];
  readonly styles: Styles;
  readonly merges: readonly Merge[];
}

async function readBook(book: Book): Promise<Sheet> {
  const { name, path, date1904 } = await readWorkbook((part) => partText(book, part));
  const styles = book.entries.has("xl/styles.xml") ? readStyles(await partText(book, "xl/styles.xml"), date1904) : { ...noStyles, date1904 };
  const strings: string[] = [];
  if (book.entries.has("xl/sharedStrings.xml")) await parsePart(book, "xl/sharedStrings.xml", readSharedStrings((text) => strings.push(text)));
  // Which cells are merged stands behind the rows, so the sheet is unpacked once for that and once for them. It counts once.
  const before = book.bytes;
  const merges = await mergesIn(unpacked(book, path, await openPart(book, path)));
  book.bytes = before;
  return { name, path, strings, styles, merges };
}

async function* readRows(book: Book, sheet: Sheet, onBytes: ReadOptions["onBytes"]): AsyncGenerator<Item> {
  const rows: { number: number; cells: Cell[] }[] = [];
  const stream = await openPart(book, sheet.path);
  const fill = fillDown(sheet.merges);
  const parser = readSheet(sheet.strings, (number, cells) => rows.push({ number, cells: fill(number, cells) }), sheet.styles);
  let names: string[] | null = null;
  let map: ColumnMap = {};
  for await (const chunk of unpacked(book, sheet.path, stream)) {
    parser.write(chunk);
    for (const { number, cells } of rows.splice(0)) {
      const at = { record: number, within: sheet.name };
      if (cells.every(({ text, fault }) => text.trim() === "" && fault === undefined)) continue;
      if (names === null) {
        names = [];
        for (const { column, text } of cells) names[column] = text.trim();
        names = Array.from(names, (name) => name ?? "");
        const found = mapColumns(names);
        if (typeof found === "string") {
          yield { at, fault: found };
          stream.destroy();
          return;
        }
        map = found;
        continue;
      }
      const wanted = new Set(Object.values(map).map((name) => names?.indexOf(name)));
      const faulty = cells.find(({ column, fault }) => fault !== undefined && wanted.has(column));
      if (faulty !== undefined) {
        yield { at: { ...at, column: faulty.column + 1 }, fault: faulty.fault ?? "" };
        continue;
      }
      const record = Object.fromEntries(cells.map(({ column, text }) => [names?.[column] ?? "", text]));
      const shaped = fromColumns(record, map);
      yield "draft" in shaped ? { at, draft: shaped.draft } : { at, fault: describeIssues(shaped.issues, "row") };
    }
    onBytes?.(book.bytes);
  }
  parser.close();
  if (names === null) yield { at: { record: 1, within: sheet.name }, fault: "the first sheet holds no rows" };
}

async function partText(book: Book, name: string): Promise<string> {
  const chunks: string[] = [];
  for await (const chunk of unpacked(book, name, await openPart(book, name))) chunks.push(chunk);
  return chunks.join("");
}

async function parsePart(book: Book, name: string, parser: SaxesParser): Promise<void> {
  for await (const chunk of unpacked(book, name, await openPart(book, name))) parser.write(chunk);
  parser.close();
}

function openPart({ zip, entries }: Book, name: string): Promise<Readable> {
  const entry = entries.get(name);
  if (entry === undefined) return Promise.reject(new Refused(`the workbook has no part ${name}`));
  if (entry.isEncrypted()) return Promise.reject(new Refused("the workbook is protected by a password"));
  return new Promise((resolve, reject) => zip.openReadStream(entry, (error, stream) => (error === null ? resolve(stream) : reject(error))));
}

/** A part's text as it is unpacked, as long as that stays within bounds. What the zip's directory claims is not believed. */
async function* unpacked(book: Book, name: string, stream: Readable): AsyncGenerator<string> {
  const packed = book.entries.get(name)?.compressedSize ?? 0;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let bytes = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      book.bytes += chunk.length;
      if (book.bytes > mostBytes) throw new Refused(`the workbook unpacks to more than ${mostBytes} bytes`);
      if (bytes > ratioFrom && bytes > packed * largestRatio) throw new Refused(`the part ${name} unpacks to more than ${largestRatio} times its size: a zip bomb`);
      yield decoder.decode(chunk, { stream: true });
    }
    yield decoder.decode();
  } finally {
    stream.destroy();
    await finished(stream).catch(() => undefined);
  }
}
