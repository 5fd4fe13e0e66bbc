/**
 * The safetensors files of a model folder as one set of tensors: one file, or shards with their index (model.safetensors.index.json). Strict: what the
 * headers and the index say is compared with what the config needs before a value is read, and a value that is no number is refused.
 */
import { open, readFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { EverloraError, describeIssues, messageOf } from "../errors/errors.ts";
import { scanKeys } from "./json_keys.ts";
import type { Shape } from "./layout.ts";
import { readSafetensorsHeader, readTensor, type NamedTensor, type StoredTensor } from "./safetensors.ts";

export const indexFile = "model.safetensors.index.json";
const singleFile = "model.safetensors";
/** The index of a model of a hundred thousand tensors has ten. */
const maxIndexBytes = 100_000_000;

const indexSchema = z.looseObject({
  // A name with a path would lead out of the folder.
  weight_map: z.record(z.string(), z.string().regex(/^[^/\\\0]+\.safetensors$/, "must be the name of a .safetensors file in the same folder")),
});
export type WeightIndex = ReadonlyMap<string, string>;

/** @returns file by tensor @throws EverloraError invalid_safetensors */
export function parseIndex(text: string): WeightIndex {
  const { twice, tooDeep } = scanKeys(text, 4);
  if (tooDeep) throw damaged("it nests deeper than 4 levels");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw damaged(`it is not JSON: ${messageOf(error)}`);
  }
  if (twice !== undefined) throw damaged(`it names ${JSON.stringify(twice.slice(0, 120))} twice`);
  const parsed = indexSchema.safeParse(json);
  if (!parsed.success) throw damaged(describeIssues(parsed.error.issues, "the index").slice(0, 300));
  const map = new Map(Object.entries(parsed.data.weight_map));
  if (map.size === 0) throw damaged("it names no tensor");
  return map;
}

export interface WeightFiles {
  readonly folder: string;
  /** The safetensors files, without those that the index leaves out. */
  readonly files: readonly string[];
  readonly index: WeightIndex | null;
}

/**
 * @param names of everything in the folder
 * @throws EverloraError invalid_model_folder when there is no safetensors file, or one that the index names is missing
 */
export async function findWeightFiles(folder: string, names: readonly string[]): Promise<WeightFiles> {
  const stored = names.filter((name) => name.endsWith(".safetensors")).sort();
  if (names.includes(indexFile)) {
    const index = await readIndex(folder);
    const files = [...new Set(index.values())].sort();
    const missing = files.find((name) => !stored.includes(name));
    if (missing !== undefined) throw fault(folder, `${indexFile} names ${missing}, which is missing`);
    return { folder, files, index };
  }
  if (stored.length === 0) throw fault(folder, "there is no *.safetensors file");
  // Some folders hold the same weights once more under another name.
  return { folder, files: stored.includes(singleFile) ? [singleFile] : stored, index: null };
}

async function readIndex(folder: string): Promise<WeightIndex> {
  const path = join(folder, indexFile);
  const bytes = await readFile(path).catch((error: unknown) => {
    throw fault(folder, `${indexFile} cannot be read: ${messageOf(error)}`);
  });
  if (bytes.length > maxIndexBytes) throw fault(folder, `${indexFile} has ${bytes.length} bytes`);
  try {
    return parseIndex(bytes.toString("utf8"));
  } catch (error) {
    throw fault(folder, messageOf(error));
  }
}

export interface WeightRules {
  readonly expected: ReadonlyMap<string, Shape>;
  /** The name that a stored tensor goes by; null: it is of no use here, and passed over. */
  readonly nameOf: (stored: string) => string | null;
}

/**
 * Every expected tensor as float32, one after the other in the order of the files, so that no more than one has to be in memory.
 * @throws EverloraError invalid_model_folder naming the tensor that is missing, misshapen, in the way, in two files, or not all numbers
 */
export async function* readWeights({ folder, files, index }: WeightFiles, { expected, nameOf }: WeightRules): AsyncGenerator<readonly [string, NamedTensor]> {
  const opened: { file: FileHandle; name: string; tensors: (readonly [string, StoredTensor])[] }[] = [];
  try {
    const found = new Map<string, string>();
    for (const name of files) {
      const file = await open(join(folder, name), "r");
      const entry = { file, name, tensors: [] as (readonly [string, StoredTensor])[] };
      opened.push(entry);
      for (const stored of await headerOf(file, folder, name)) {
        if (index !== null && index.get(stored.name) !== name) throw fault(folder, `tensor ${stored.name} is in ${name}, ${indexFile} ${index.has(stored.name) ? `says ${index.get(stored.name)}` : "does not name it"}`);
        const known = nameOf(stored.name);
        if (known === null) continue;
        if (found.has(known)) throw fault(folder, `tensor ${known} is in two files, one is ${name}`);
        found.set(known, name);
        entry.tensors.push([known, stored]);
      }
    }
    for (const [tensor, name] of index ?? []) {
      const known = nameOf(tensor);
      if (known !== null && found.get(known) !== name) throw fault(folder, `${indexFile} says that tensor ${tensor} is in ${name}, where it is not`);
    }
    compare(folder, new Map(opened.flatMap(({ tensors }) => tensors)), expected);
    for (const { file, name, tensors } of opened) {
      for (const [known, stored] of tensors) {
        const tensor = await readTensor(file, stored).catch((error: unknown) => {
          throw fault(folder, `${join(folder, name)}: ${messageOf(error)}`);
        });
        const bad = tensor.values.findIndex((value) => !Number.isFinite(value));
        if (bad >= 0) throw fault(folder, `tensor ${known} has the value ${tensor.values[bad]} at element ${bad}`);
        yield [known, tensor];
      }
    }
  } finally {
    await Promise.all(opened.map(({ file }) => file.close()));
  }
}

async function headerOf(file: FileHandle, folder: string, name: string): Promise<StoredTensor[]> {
  try {
    return await readSafetensorsHeader(file);
  } catch (error) {
    throw fault(folder, `${join(folder, name)}: ${messageOf(error)}`);
  }
}

function compare(folder: string, found: ReadonlyMap<string, StoredTensor>, expected: ReadonlyMap<string, Shape>): void {
  for (const [name, shape] of expected) {
    const tensor = found.get(name);
    if (tensor === undefined) throw fault(folder, `tensor ${name} is missing`);
    if (tensor.shape.length !== shape.length || tensor.shape.some((side, axis) => side !== shape[axis])) throw fault(folder, `tensor ${name} has shape [${tensor.shape.join(",")}], config.json needs [${shape.join(",")}]`);
  }
  const extra = [...found.keys()].filter((name) => !expected.has(name));
  if (extra.length > 0) throw fault(folder, `there are ${extra.length} tensors that config.json has no place for, the first is ${extra[0]}`);
}

const fault = (folder: string, message: string) => new EverloraError("invalid_model_folder", `${folder}: ${message}`, { param: "BASE_MODEL" });
const damaged = (message: string) => new EverloraError("invalid_safetensors", `${indexFile}: ${message}`);
