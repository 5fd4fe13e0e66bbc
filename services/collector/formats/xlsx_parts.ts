/** The XML parts of a workbook (ECMA-376 part 1, section 18): where the first sheet is, the shared strings, and a sheet's rows. */
import { SaxesParser, type SaxesTagPlain } from "saxes";

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

/** @param part reads a part @throws what the reader throws, and Error when there is no sheet */
export async function readWorkbook(part: (name: string) => Promise<string>): Promise<{ name: string; path: string }> {
  const found = { name: "", relation: "" };
  parserOf((tag, name) => {
    if (name !== "sheet" || found.relation !== "" || attribute(tag, "state") === "hidden" || attribute(tag, "state") === "veryHidden") return;
    found.name = attribute(tag, "name");
    found.relation = Object.entries(tag.attributes).find(([key]) => key.endsWith(":id"))?.[1] ?? "";
  })
    .write(await part("xl/workbook.xml"))
    .close();
  let target = "";
  parserOf((tag, name) => {
    if (name === "Relationship" && attribute(tag, "Id") === found.relation) target = attribute(tag, "Target");
  })
    .write(await part("xl/_rels/workbook.xml.rels"))
    .close();
  if (target === "") throw new Error("the workbook names no sheet");
  return { name: found.name, path: target.startsWith("/") ? target.slice(1) : `xl/${target}` };
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
export function readSheet(strings: readonly string[], take: (row: number, cells: Cell[]) => void): SaxesParser {
  let rowNumber = 0;
  let cells: Cell[] = [];
  let column = -1;
  let type = "";
  let value = "";
  let formula = false;
  let inValue = false;
  return parserOf(
    (tag, name) => {
      if (name === "row") {
        rowNumber = Number(attribute(tag, "r")) || rowNumber + 1;
        cells = [];
        column = -1;
      } else if (name === "c") {
        column = columnOf(attribute(tag, "r")) ?? column + 1;
        type = attribute(tag, "t");
        [value, formula] = ["", false];
      } else if (name === "f") formula = true;
      else if (name === "v" || name === "t") inValue = true;
    },
    (name) => {
      if (name === "v" || name === "t") inValue = false;
      else if (name === "c") cells.push(cellOf(column, type, value, formula, strings));
      else if (name === "row") take(rowNumber, cells);
    },
    (part) => {
      if (inValue) value += part;
    },
  );
}

function cellOf(column: number, type: string, value: string, formula: boolean, strings: readonly string[]): Cell {
  if (type === "e") return { column, text: "", fault: `the cell holds the error ${value.slice(0, 20)}` };
  // A formula whose value is the empty text says so by its type.
  if (formula && value === "" && type !== "str") return { column, text: "", fault: "a formula that was never computed; open and save the workbook in Excel" };
  if (type === "s") {
    const text = strings[Number(value)];
    return text === undefined ? { column, text: "", fault: "the cell names a shared string that is not there" } : { column, text };
  }
  if (type === "b") return { column, text: value === "1" ? "true" : "false" };
  return { column, text: type === "str" || type === "inlineStr" ? unescapeText(value) : value };
}

/** "AB12" → 27. */
function columnOf(reference: string): number | undefined {
  const letters = /^[A-Z]{1,3}/.exec(reference)?.[0];
  if (letters === undefined) return undefined;
  return [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 64, 0) - 1;
}

/** ST_Xstring: `_x000D_` is a carriage return, `_x005F_` an underscore before what would look like one of these. */
const unescapeText = (text: string) => text.replace(/_x([0-9A-Fa-f]{4})_/g, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
