/**
 * The safetensors format (github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, the tensors' bytes. Read strictly: the
 * tensors must cover the file exactly, without gap or overlap, and nothing is allocated on the word of a header that the file can't back.
 */
import { readFileSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { z } from "zod";
import { EverloraError, describeIssues, messageOf } from "../errors/errors.ts";
import { readFully } from "../files/chunks.ts";
import { scanKeys } from "./json_keys.ts";
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16 } from "./half.ts";

/** As the reference implementation has it. */
const maxHeaderBytes = 100_000_000;
/** The header, an entry, its shape; one to spare. */
const maxDepth = 4;
const metadataKey = "__metadata__";
const elementBytes = { F32: 4, F16: 2, BF16: 2 } as const;
type StoredType = keyof typeof elementBytes;

const entrySchema = z.strictObject({
  dtype: z.string(),
  // Counted before it is read: a hundred megabytes of wrong sides would become as many issues.
  shape: z.array(z.unknown()).max(8).pipe(z.array(z.int().nonnegative())),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});

export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredType;
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface NamedTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/**
 * Parses a header. @param header the JSON text; @param dataStart where the tensors begin; @param fileBytes the file's size
 * @throws EverloraError invalid_safetensors that names the tensor and the fault
 */
export function parseHeader(header: string, dataStart: number, fileBytes: number): StoredTensor[] {
  const { twice, tooDeep } = scanKeys(header, maxDepth);
  if (tooDeep) throw damaged(`the header nests deeper than ${maxDepth} levels`);
  let json: unknown;
  try {
    json = JSON.parse(header);
  } catch (error) {
    throw damaged(`the header is not JSON: ${messageOf(error)}`);
  }
  if (twice !== undefined) throw damaged(`the header names ${show(twice)} twice`);
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw damaged("the header is not an object");
  const tensors: StoredTensor[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === metadataKey) checkMetadata(value);
    else tensors.push(parseEntry(name, value, dataStart));
  }
  let end = dataStart;
  for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset !== end) throw damaged(`${show(tensor.name)} begins at byte ${tensor.offset}, the tensor before it ends at ${end}`);
    end += tensor.bytes;
  }
  if (end !== fileBytes) throw damaged(`the tensors end at byte ${end}, the file at ${fileBytes}`);
  return tensors;
}

function parseEntry(name: string, value: unknown, dataStart: number): StoredTensor {
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) throw damaged(`${show(name)}: ${cut(describeIssues(parsed.error.issues, "the entry"))}`);
  const { dtype, shape, data_offsets: offsets } = parsed.data;
  if (!Object.hasOwn(elementBytes, dtype)) throw damaged(`${show(name)} has dtype ${show(dtype)}; supported: ${Object.keys(elementBytes).join(", ")}`);
  const stored = dtype as StoredType;
  // As BigInt: a product of header numbers may leave the safe integers.
  const expected = shape.reduce((product, side) => product * BigInt(side), BigInt(elementBytes[stored]));
  const bytes = offsets[1] - offsets[0];
  if (expected !== BigInt(bytes)) throw damaged(`${show(name)} of shape [${shape.join(",")}] and type ${stored} needs ${expected} bytes, its offsets give ${bytes}`);
  return { name, dtype: stored, shape, offset: dataStart + offsets[0], bytes };
}

function checkMetadata(value: unknown): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged(`${metadataKey} is not an object`);
  const odd = Object.entries(value).find(([, text]) => typeof text !== "string");
  if (odd !== undefined) throw damaged(`${metadataKey}: ${show(odd[0])} is not a text`);
}

/** @throws EverloraError invalid_safetensors; also when the file is shorter than it says */
export async function readSafetensorsHeader(file: FileHandle): Promise<StoredTensor[]> {
  const { size } = await file.stat();
  const length = Buffer.alloc(8);
  await readFully(file, length, 0);
  const header = new Uint8Array(headerBytesOf(length, size));
  await readFully(file, header, 8);
  return parseRawHeader(header, size);
}

/** @param start the file's first bytes */
function headerBytesOf(start: Uint8Array, fileBytes: number): number {
  if (fileBytes < 8) throw damaged(`the file has ${fileBytes} bytes, a header's length alone needs 8`);
  const bytes = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (bytes > BigInt(maxHeaderBytes) || bytes > BigInt(fileBytes - 8)) throw damaged(`the header claims ${bytes} bytes, the file has ${fileBytes}`);
  return Number(bytes);
}

function parseRawHeader(header: Uint8Array, fileBytes: number): StoredTensor[] {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    throw damaged("the header is not UTF-8");
  }
  return parseHeader(text, 8 + header.length, fileBytes);
}

/** Reads all tensors of a file as float32. @throws EverloraError invalid_safetensors, its message beginning with the path */
export async function readSafetensors(path: string): Promise<Map<string, NamedTensor>> {
  const file = await open(path, "r");
  try {
    const stored = await readSafetensorsHeader(file);
    const read = new Map<string, NamedTensor>();
    for (const group of groupsOf([...stored].sort((a, b) => a.offset - b.offset))) for (const [name, tensor] of await readGroup(file, group)) read.set(name, tensor);
    return new Map(stored.map(({ name }) => [name, read.get(name)]).filter((entry): entry is [string, NamedTensor] => entry[1] !== undefined));
  } catch (error) {
    throw named(path, error);
  } finally {
    await file.close();
  }
}

/**
 * The same without a turn of the event loop in between: for small files, in a process whose turns are long. @throws as `readSafetensors`, and RangeError of
 * Node's for files from 2 GiB on
 */
export function readSafetensorsSync(path: string): Map<string, NamedTensor> {
  const bytes = readFileSync(path);
  try {
    const header = bytes.subarray(8, 8 + headerBytesOf(bytes, bytes.length));
    return new Map(parseRawHeader(header, bytes.length).map((tensor) => [tensor.name, inPlace(tensor, bytes) ?? namedTensor(tensor, bytes, 0)]));
  } catch (error) {
    throw named(path, error);
  }
}

function named(path: string, error: unknown): unknown {
  return error instanceof EverloraError ? new EverloraError(error.code, `${path}: ${error.message}`, { cause: error }) : error;
}

/** An adapter has hundreds of small tensors: as many reads take ten times as long as a few large ones, and thirty times beside an engine that keeps the cores busy. */
const groupBytes = 64 * 2 ** 20;

/** Neighbours in the file, together no larger than a group, save where one tensor is. */
function groupsOf(sorted: readonly StoredTensor[]): StoredTensor[][] {
  const groups: StoredTensor[][] = [];
  let [group, from]: [StoredTensor[], number] = [[], 0];
  for (const tensor of sorted) {
    if (group.length === 0 || tensor.offset + tensor.bytes - from > groupBytes) {
      [group, from] = [[], tensor.offset];
      groups.push(group);
    }
    group.push(tensor);
  }
  return groups;
}

async function readGroup(file: FileHandle, group: readonly StoredTensor[]): Promise<[string, NamedTensor][]> {
  const from = group[0]?.offset ?? 0;
  const end = group.reduce((most, { offset, bytes }) => Math.max(most, offset + bytes), from);
  const raw = new Uint8Array(end - from);
  const there = from + (await readFully(file, raw, from));
  return group.map((tensor) => {
    if (tensor.offset + tensor.bytes > there) throw damaged(`${show(tensor.name)} ends behind the file's end`);
    return [tensor.name, namedTensor(tensor, raw, from)];
  });
}

/** @param raw the file's bytes from `from` on */
function namedTensor({ shape, dtype, offset, bytes }: StoredTensor, raw: Uint8Array, from: number): NamedTensor {
  // A copy of its own: numbers have to lie at multiples of their size, and one tensor should not keep all the others in memory.
  return { shape, values: toFloat32(Uint8Array.prototype.slice.call(raw, offset - from, offset - from + bytes), dtype) };
}

/** The tensor where it lies, keeping the file's bytes in memory: nothing where its numbers would have to be moved to be read. */
function inPlace({ shape, dtype, offset, bytes }: StoredTensor, file: Uint8Array): NamedTensor | null {
  const start = file.byteOffset + offset;
  return dtype === "F32" && start % 4 === 0 ? { shape, values: new Float32Array(file.buffer, start, bytes / 4) } : null;
}

/** Reads one tensor as float32. @throws EverloraError invalid_safetensors when the file has become shorter */
export async function readTensor(file: FileHandle, stored: StoredTensor): Promise<NamedTensor> {
  const raw = new Uint8Array(stored.bytes);
  if ((await readFully(file, raw, stored.offset)) !== stored.bytes) throw damaged(`${show(stored.name)} ends behind the file's end`);
  return { shape: stored.shape, values: toFloat32(raw, stored.dtype) };
}

function toFloat32(raw: Uint8Array, dtype: StoredType): Float32Array {
  if (dtype === "F32") return new Float32Array(raw.buffer);
  const halves = new Uint16Array(raw.buffer);
  return dtype === "F16" ? float16ToFloat32(halves) : bfloat16ToFloat32(halves);
}

/** A whole file as bytes; tensors in the order of the map, the header padded to 8 bytes as the reference implementation does. */
export function writeSafetensors(tensors: ReadonlyMap<string, NamedTensor>, dtype: "F32" | "F16", metadata: Record<string, string> = { format: "pt" }): Uint8Array {
  const header: [string, unknown][] = [[metadataKey, metadata]];
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { shape, values }] of tensors) {
    if (name === metadataKey) throw new RangeError(`no tensor can be called ${metadataKey}`);
    const typed = dtype === "F32" ? values : float32ToFloat16(values);
    const raw = new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength);
    header.push([name, { dtype, shape, data_offsets: [offset, offset + raw.length] }]);
    offset += raw.length;
    parts.push(raw);
  }
  // From entries: assigning to the key "__proto__" would set no key.
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, " ");
  json.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...parts]);
}

const cut = (text: string) => (text.length > 120 ? `${text.slice(0, 120)}…` : text);
const show = (text: string) => JSON.stringify(cut(text));
const damaged = (message: string) => new EverloraError("invalid_safetensors", message);
