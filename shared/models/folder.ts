/** A decoder's folder in Hugging Face's layout: what is in it, whether it is whole, and its identity. */
import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { EverloraError, messageOf } from "../errors/errors.ts";
import { hashFile } from "../files/hash_file.ts";
import type { ModelConfig } from "./config.ts";
import { parseConfig } from "./families.ts";
import { expectedTensors, isHarmless } from "./layout.ts";
import type { NamedTensor } from "./safetensors.ts";
import { findWeightFiles, indexFile, readWeights } from "./weight_files.ts";

export interface ModelFolder {
  readonly folder: string;
  /** The folder's last part: how the model is called. */
  readonly name: string;
  readonly config: ModelConfig;
  /** Over config, tokenizer, chat template and weights, by file name: the identity that adapters are bound to. */
  readonly sha256: string;
  readonly parameters: number;
  /** One tensor after the other as float32, checked against the config, so that no more than one is in memory. @throws EverloraError invalid_model_folder naming the tensor */
  eachWeight(): AsyncIterable<readonly [string, NamedTensor]>;
  /** All tensors at once, in the order of the layout. @throws as eachWeight */
  readWeights(): Promise<Map<string, NamedTensor>>;
}

const needed = ["config.json", "tokenizer.json", "tokenizer_config.json"] as const;

/** What kind of model it is, after a look that its files are there. Reads no weight: for who only wants to know. @throws as openModelFolder */
export async function readModelConfig(folder: string): Promise<ModelConfig> {
  return (await lookInto(folder)).config;
}

async function lookInto(folder: string) {
  const names = await listFolder(folder, needed);
  const config = parseConfig(await readJson(folder, "config.json"), folder);
  return { names, config, weights: await findWeightFiles(folder, names) };
}

/** @throws EverloraError invalid_model_folder naming the file that is missing or wrong */
export async function openModelFolder(folder: string): Promise<ModelFolder> {
  const { names, config, weights } = await lookInto(folder);
  const expected = expectedTensors(config);
  const eachWeight = () => readWeights(weights, { expected, nameOf: (stored) => (isHarmless(stored, config) ? null : stored) });
  return {
    folder,
    name: basename(folder),
    config,
    sha256: await hashFiles(folder, [...needed, ...names.filter((name) => name === "chat_template.jinja" || name === indexFile), ...weights.files]),
    parameters: countElements(expected.values()),
    eachWeight,
    async readWeights() {
      const found = new Map<string, NamedTensor>();
      for await (const [name, tensor] of eachWeight()) found.set(name, tensor);
      return new Map([...expected.keys()].flatMap((name): [string, NamedTensor][] => {
        const tensor = found.get(name);
        return tensor === undefined ? [] : [[name, tensor]];
      }));
    },
  };
}

/** The names of everything in a folder. @throws EverloraError invalid_model_folder when it is not there or lacks one of the files that are needed */
export async function listFolder(folder: string, files: readonly string[]): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw fault(folder, error.code === "ENOENT" ? "there is no such folder" : `the folder cannot be read: ${error.message}`);
  });
  const missing = files.find((name) => !names.includes(name));
  if (missing !== undefined) throw fault(folder, `${missing} is missing`);
  return names;
}

/** SHA-256 over the files' names and contents, in the given order. */
export async function hashFiles(folder: string, names: readonly string[]): Promise<string> {
  const whole = createHash("sha256");
  for (const name of names) {
    const hash = createHash("sha256");
    await hashFile(join(folder, name), [hash]);
    whole.update(`${name} ${hash.digest("hex")}\n`);
  }
  return whole.digest("hex");
}

export async function readJson(folder: string, name: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(join(folder, name), "utf8")) as unknown;
  } catch (error) {
    throw fault(folder, `${name} cannot be read: ${messageOf(error)}`);
  }
}

function countElements(shapes: Iterable<readonly number[]>): number {
  return [...shapes].reduce((sum, shape) => sum + shape.reduce((product, side) => product * side, 1), 0);
}

const fault = (folder: string, message: string) => new EverloraError("invalid_model_folder", `${folder}: ${message}`, { param: "BASE_MODEL" });
