/**
 * Which encoding a text file has, and the file as decoded text in pieces. A byte order mark decides; else zero bytes tell UTF-16; else it is UTF-8 where that is
 * what nearly all of it is, and windows-1252 (which everybody means by Latin-1) otherwise. What is no UTF-8 in a UTF-8 file becomes U+FFFD, and is for the
 * readers to name.
 */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { isUtf8 } from "node:buffer";
import { EverloraError } from "../../../shared/errors/errors.ts";

export type Encoding = "utf-8" | "utf-16le" | "utf-16be" | "windows-1252";
const chunkBytes = 1 << 18;
const headBytes = 4_096;

const aliases: Readonly<Record<string, Encoding>> = { "utf-8": "utf-8", utf8: "utf-8", "utf-16": "utf-16le", "utf-16le": "utf-16le", "utf-16be": "utf-16be", latin1: "windows-1252", "iso-8859-1": "windows-1252", "windows-1252": "windows-1252", cp1252: "windows-1252" };
const encodingNames = Object.keys(aliases);

/** @throws EverloraError unprocessable */
export function encodingNamed(name: string): Encoding {
  const encoding = aliases[name.toLowerCase()];
  if (encoding === undefined) throw new EverloraError("unprocessable", `--encoding ${name} is not known.`, { param: "encoding", hint: `Choose one of ${encodingNames.join(", ")}.` });
  return encoding;
}

/** The first bytes of a file. */
export async function readHead(path: string, length = headBytes): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await file.read(bytes, 0, length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Reads the whole file once where the first bytes don't tell. */
export async function detectEncoding(path: string): Promise<Encoding> {
  const head = await readHead(path);
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return "utf-8";
  if (head[0] === 0xff && head[1] === 0xfe) return "utf-16le";
  if (head[0] === 0xfe && head[1] === 0xff) return "utf-16be";
  const zeros = [0, 0];
  head.forEach((byte, at) => {
    if (byte === 0) zeros[at % 2] = (zeros[at % 2] ?? 0) + 1;
  });
  if ((zeros[1] ?? 0) > head.length / 5) return "utf-16le";
  if ((zeros[0] ?? 0) > head.length / 5) return "utf-16be";
  const counts = { good: 0, bad: 0 };
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) {
    const bytes = Buffer.concat([rest, chunk]);
    const cut = lastWhole(bytes);
    if (!isUtf8(bytes.subarray(0, cut))) countSequences(bytes.subarray(0, cut), counts);
    rest = bytes.subarray(cut);
  }
  if (rest.length > 0 && !isUtf8(rest)) counts.bad++;
  return counts.bad > counts.good ? "windows-1252" : "utf-8";
}

/** Where the last whole character ends. */
function lastWhole(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return bytes.length;
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** Good and bad multi-byte characters of UTF-8. */
function countSequences(bytes: Uint8Array, counts: { good: number; bad: number }): void {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte < 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 0;
    let good = length > 0;
    for (let more = 1; more < length; more++) good &&= ((bytes[at + more] ?? 0) & 0xc0) === 0x80;
    if (good) at += length - 1;
    counts[good ? "good" : "bad"]++;
  }
}

/** The file's text, without its byte order mark. */
export async function* decodedText(path: string, encoding: Encoding, onBytes: (bytes: number) => void = () => undefined): AsyncGenerator<string> {
  const decoder = new TextDecoder(encoding);
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) {
    const text = decoder.decode(chunk, { stream: true });
    bytes += chunk.length;
    onBytes(bytes);
    if (text !== "") yield text;
  }
  const last = decoder.decode();
  if (last !== "") yield last;
}
