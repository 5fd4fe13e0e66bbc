/** The XML parts of a workbook (ECMA-376 part 1, section 18): where the first sheet is, the shared strings, the styles, and a sheet's rows. */
import { SaxesParser, type SaxesTagPlain } from "saxes";
import { noStyles, numberKind, numberText, type NumberKind, type Styles } from "./xlsx_styles.ts";

export interface Cell {
  /** From 0. */
  readonly column: number;
  readonly text: string;
  /** A formula without a value, or with an error for one. */
  readonly fault?: string;
}

/** Names without their prefix: writers differ in which namespace is the default one. */
const local = ({ name }: SaxesTagPlain) => name.slice(name.indexOf(":") + 1);
const attribute = (tag: SaxesTagPlain, name: string) => tag.attributes[name] ?? "";

function parserOf(open: (tag: SaxesTagPlain, name: string) => void, close: (name: string) => void = () => undefined, text: (text: string) => void = () => undefined): SaxesParser {
  const parser = new SaxesParser();
  parser.on("error", (error) => {
    throw error;
  });
  // Entities of their own are what XML bombs are made of; SpreadsheetML has none.
  parser.on("doctype", () => {
    throw new Error("a document type declaration stands in it");
  });
  parser.on("opentag", (tag) => open(tag, local(tag)));
  parser.on("closetag", (tag) => close(local(tag)));
  parser.on("text", text);
  parser.on("cdata", text);
  return parser;
}

const isTrue = (text: string) => text === "1" || text === "true";

/** The first sheet of cells that is not hidden, and whether the workbook counts its days from 1904. @param part reads a part @throws what the reader throws, and Error when there is no sheet */
export async function readWorkbook(part: (name: string) => Promise<string>): Promise<{ name: string; path: string; date1904: boolean }> {
  const sheets: { name: string; relation: string }[] = [];
  let date1904 = false;
  parserOf((tag, name) => {
    if (name === "workbookPr") date1904 = isTrue(attribute(tag, "date1904"));
    if (name !== "sheet" || attribute(tag, "state") === "hidden" || attribute(tag, "state") === "veryHidden") return;
    sheets.push({ name: attribute(tag, "name"), relation: Object.entries(tag.attributes).find(([key]) => key.endsWith(":id"))?.[1] ?? "" });
  })
    .write(await part("xl/workbook.xml"))
    .close();
  const targets = new Map<string, string>();
  parserOf((tag, name) => {
    // A chart may have a sheet of its own; it has no cells.
    if (name === "Relationship" && !/chartsheet$/.test(attribute(tag, "Type"))) targets.set(attribute(tag, "Id"), attribute(tag, "Target"));
  })
    .write(await part("xl/_rels/workbook.xml.rels"))
    .close();
  const sheet = sheets.find(({ relation }) => targets.has(relation));
  const target = targets.get(sheet?.relation ?? "");
  if (sheet === undefined || target === undefined) throw new Error("the workbook names no sheet that can be seen");
  return { name: sheet.name, path: target.startsWith("/") ? target.slice(1) : `xl/${target}`, date1904 };
}

/** What the cells' styles say of their numbers. @param xml xl/styles.xml */
export function readStyles(xml: string, date1904: boolean): Styles {
  const codes = new Map<number, string>();
  const kinds: NumberKind[] = [];
  let inCells = false;
  parserOf(
    (tag, name) => {
      if (name === "numFmt") codes.set(Number(attribute(tag, "numFmtId")), attribute(tag, "formatCode"));
      else if (name === "cellXfs") inCells = true;
      else if (name === "xf" && inCells) {
        const id = Number(attribute(tag, "numFmtId"));
        kinds.push(numberKind(id, codes.get(id)));
      }
    },
    (name) => {
      if (name === "cellXfs") inCells = false;
    },
  )
    .write(xml)
    .close();
  return { kinds, date1904 };
}

/** Each shared string in its order; phonetic hints are left out. */
export function readSharedStrings(take: (text: string) => void): SaxesParser {
  let text = "";
  let inText = false;
  let phonetic = false;
  return parserOf(
    (_tag, name) => {
      if (name === "si") text = "";
      else if (name === "rPh") phonetic = true;
      else if (name === "t") inText = !phonetic;
    },
    (name) => {
      if (name === "si") take(unescapeText(text));
      else if (name === "rPh") phonetic = false;
      else if (name === "t") inText = false;
    },
    (part) => {
      if (inText) text += part;
    },
  );
}

/** The rows of a sheet. @param take its number (from 1) and the cells that are there */
export function readSheet(strings: readonly string[], take: (row: number, cells: Cell[]) => void, styles: Styles = noStyles): SaxesParser {
  let rowNumber = 0;
  let cells: Cell[] = [];
  let column = -1;
  let type = "";
  let value = "";
  let formula = false;
  let inValue = false;
  let phonetic = false;
  let style = 0;
  return parserOf(
    (tag, name) => {
      if (name === "row") {
        rowNumber = Number(attribute(tag, "r")) || rowNumber + 1;
        cells = [];
        column = -1;
      } else if (name === "c") {
        column = columnOf(attribute(tag, "r")) ?? column + 1;
        type = attribute(tag, "t");
        style = Number(attribute(tag, "s")) || 0;
        [value, formula] = ["", false];
      } else if (name === "f") formula = true;
      else if (name === "rPh") phonetic = true;
      else if (name === "v" || name === "t") inValue = !phonetic;
    },
    (name) => {
      if (name === "v" || name === "t") inValue = false;
      else if (name === "rPh") phonetic = false;
      else if (name === "c") cells.push(cellOf({ column, type, value, formula, style }, strings, styles));
      else if (name === "row") take(rowNumber, cells);
    },
    (part) => {
      if (inValue) value += part;
    },
  );
}

interface RawCell {
  readonly column: number;
  /** ST_CellType; "" is a number. */
  readonly type: string;
  readonly value: string;
  readonly formula: boolean;
  readonly style: number;
}

/** A formula's own text is read nowhere: it is neither computed nor passed on. */
function cellOf({ column, type, value, formula, style }: RawCell, strings: readonly string[], { kinds, date1904 }: Styles): Cell {
  if (type === "e") return { column, text: "", fault: `the cell holds the error ${value.slice(0, 20)}` };
  // A formula whose value is the empty text says so by its type.
  if (formula && value === "" && type !== "str") return { column, text: "", fault: "a formula that was never computed; open and save the workbook in Excel" };
  if (type === "s") {
    const text = strings[Number(value)];
    return text === undefined ? { column, text: "", fault: "the cell names a shared string that is not there" } : { column, text };
  }
  if (type === "b") return { column, text: value === "1" ? "true" : "false" };
  if (type === "str" || type === "inlineStr") return { column, text: unescapeText(value) };
  if (type !== "" && type !== "n") return { column, text: value }; // "d" is ISO 8601 already
  const text = numberText(value, kinds[style] ?? { shown: "plain" }, date1904);
  return text === null ? { column, text: "", fault: "a number that is no date of the workbook's calendar, in a cell for dates" } : { column, text };
}

/** "AB12" → 27. */
export function columnOf(reference: string): number | undefined {
  const letters = /^[A-Z]{1,3}/.exec(reference)?.[0];
  if (letters === undefined) return undefined;
  return [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 64, 0) - 1;
}

/** ST_Xstring: `_x000D_` is a carriage return, `_x005F_` an underscore before what would look like one of these. */
const unescapeText = (text: string) => text.replace(/_x([0-9A-Fa-f]{4})_/g, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
