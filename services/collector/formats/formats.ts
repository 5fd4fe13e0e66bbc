/** The table of file formats, and which one a file has. */
import { extname } from "node:path";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { csv } from "./csv.ts";
import { readHead } from "./encoding.ts";
import type { FileFormat, Head } from "./format.ts";
import { jsonFormat } from "./json_format.ts";
import { parquet } from "./parquet.ts";
import { fromAlpaca, fromChat, fromPubMedQa, fromShareGpt } from "./shapes.ts";
import { xlsx } from "./xlsx.ts";

const json = [".json", ".jsonl", ".ndjson"];

const formats: readonly FileFormat[] = [
  jsonFormat({ name: "pubmedqa", about: "PubMedQA's ori_pqal.json: one object with a member for each article", extensions: [".json"], fits: ({ text }) => /^\s*\{\s*"[^"]+"\s*:\s*\{/.test(text) && /"(?:QUESTION|CONTEXTS)"\s*:/.test(text) }, fromPubMedQa, "members"),
  jsonFormat({ name: "chat", about: "OpenAI's fine-tuning lines: {\"messages\": […], \"tools\": […]}, also as one JSON array", extensions: json, fits: ({ text }) => /"messages"\s*:/.test(text) }, fromChat),
  jsonFormat({ name: "sharegpt", about: "ShareGPT: {\"conversations\": [{\"from\": \"human\", \"value\": …}, …]}, as lines or an array", extensions: json, fits: ({ text }) => /"conversations"\s*:/.test(text) }, fromShareGpt),
  jsonFormat({ name: "alpaca", about: "Alpaca: {\"instruction\", \"input\", \"output\"}, as an array or lines", extensions: json, fits: ({ text }) => /"(?:instruction|output)"\s*:/.test(text) }, fromAlpaca),
  xlsx,
  parquet,
  csv,
];

/** @throws EverloraError unprocessable that lists the names */
export function formatNamed(name: string): FileFormat {
  const format = formats.find((each) => each.name === name);
  if (format === undefined) throw new EverloraError("unprocessable", `--format ${name} is not known.`, { param: "format", hint: `Choose one of ${formats.map((each) => each.name).join(", ")}.` });
  return format;
}

/** By extension and first bytes. @throws EverloraError unprocessable when the file can't be read or is none of them */
export async function formatOf(path: string): Promise<FileFormat> {
  let bytes: Buffer;
  try {
    bytes = await readHead(path, 65_536);
  } catch (error) {
    throw new EverloraError("unprocessable", `${path}: ${messageOf(error)}.`, { hint: "Name a file that can be read.", cause: error });
  }
  const head: Head = { bytes, text: textOfHead(bytes) };
  const extension = extname(path).toLowerCase();
  const format = formats.find((each) => each.extensions.includes(extension) && each.fits(head)) ?? formats.find((each) => each.fits(head));
  if (format !== undefined) return format;
  throw new EverloraError("unprocessable", `${path}: none of the formats ${formats.map((each) => each.name).join(", ")} is recognised.`, { hint: "Name the format with --format; ./everlora validate says what is wrong with each record." });
}

function textOfHead(bytes: Buffer): string {
  const wide = bytes[0] === 0xff || bytes[1] === 0 ? "utf-16le" : bytes[0] === 0xfe || bytes[0] === 0 ? "utf-16be" : "utf-8";
  return new TextDecoder(wide).decode(bytes);
}
