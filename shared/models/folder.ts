/** A base model's folder in Hugging Face's layout: what is in it, whether it is whole, and its identity. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { EverloraError, messageOf } from "../errors/errors.ts";
import type { ModelConfig } from "./config.ts";
import { parseConfig } from "./families.ts";
import { expectedTensors, isHarmless } from "./layout.ts";
import { readSafetensors, type NamedTensor } from "./safetensors.ts";

export interface ModelFolder {
  readonly folder: string;
  /** The folder's last part: how the model is called. */
  readonly name: string;
  readonly config: ModelConfig;
  /** Over config, tokenizer, chat template and weights, by file name: the identity that adapters are bound to. */
  readonly sha256: string;
  readonly parameters: number;
  /** All tensors as float32, checked against the config. @throws EverloraError invalid_model_folder naming the tensor */
  readWeights(): Promise<Map<string, NamedTensor>>;
}

/** @throws EverloraError invalid_model_folder naming the file that is missing or wrong */
export async function openModelFolder(folder: string): Promise<ModelFolder> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw fault(folder, error.code === "ENOENT" ? "there is no such folder" : `the folder cannot be read: ${error.message}`);
  });
  for (const needed of ["config.json", "tokenizer.json", "tokenizer_config.json"]) if (!names.includes(needed)) throw fault(folder, `${needed} is missing`);
  const weightFiles = names.filter((name) => name.endsWith(".safetensors")).sort();
  if (weightFiles.length === 0) throw fault(folder, "there is no *.safetensors file");
  const config = parseConfig(await readJson(folder, "config.json"), folder);
  const expected = expectedTensors(config);
  return {
    folder,
    name: basename(folder),
    config,
    sha256: await hashFiles(folder, ["config.json", "tokenizer.json", "tokenizer_config.json", ...names.filter((name) => name === "chat_template.jinja"), ...weightFiles]),
    parameters: [...expected.values()].reduce((sum, shape) => sum + shape.reduce((product, side) => product * side, 1), 0),
    readWeights: () => readWeights(folder, weightFiles, expected, config),
  };
}

async function readWeights(folder: string, files: readonly string[], expected: ReadonlyMap<string, readonly number[]>, config: ModelConfig): Promise<Map<string, NamedTensor>> {
  const found = new Map<string, NamedTensor>();
  for (const file of files) {
    const tensors = await readSafetensors(join(folder, file)).catch((error: unknown) => {
      throw fault(folder, messageOf(error));
    });
    for (const [name, tensor] of tensors) {
      if (found.has(name)) throw fault(folder, `tensor ${name} is in two files, one is ${file}`);
      found.set(name, tensor);
    }
  }
  for (const name of found.keys()) if (isHarmless(name, config)) found.delete(name);
  const weights = new Map<string, NamedTensor>();
  for (const [name, shape] of expected) {
    const tensor = found.get(name);
    if (tensor === undefined) throw fault(folder, `tensor ${name} is missing`);
    if (tensor.shape.length !== shape.length || tensor.shape.some((side, axis) => side !== shape[axis])) throw fault(folder, `tensor ${name} has shape [${tensor.shape.join(",")}], config.json needs [${shape.join(",")}]`);
    weights.set(name, tensor);
    found.delete(name);
  }
  const [extra] = found.keys();
  if (extra !== undefined) throw fault(folder, `there are ${found.size} tensors that config.json has no place for, the first is ${extra}`);
  return weights;
}

async function hashFiles(folder: string, names: readonly string[]): Promise<string> {
  const whole = createHash("sha256");
  for (const name of names) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk as Buffer);
    whole.update(`${name} ${hash.digest("hex")}\n`);
  }
  return whole.digest("hex");
}

async function readJson(folder: string, name: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(join(folder, name), "utf8")) as unknown;
  } catch (error) {
    throw fault(folder, `${name} cannot be read: ${messageOf(error)}`);
  }
}

const fault = (folder: string, message: string) => new EverloraError("invalid_model_folder", `${folder}: ${message}`, { param: "BASE_MODEL" });
