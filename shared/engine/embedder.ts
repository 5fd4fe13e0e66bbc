/**
 * Sentence embeddings by a BERT encoder from a Hugging Face folder (all-MiniLM-L6-v2 and its like). Lives in a child process only (runtime.ts says
 * why). Not responsible for what is embedded, nor for what is done with the vectors.
 */
import { basename, join } from "node:path";
import { z } from "zod";
import { EverloraError } from "../errors/errors.ts";
import { encode, pool } from "../models/bert.ts";
import { bertNameOf, bertTensors, parseBertConfig, parsePooling, poolingPath, type BertConfig, type Pooling } from "../models/bert_config.ts";
import { hashFiles, listFolder, readJson } from "../models/folder.ts";
import type { Weights } from "../models/linear.ts";
import { findWeightFiles, indexFile, readWeights } from "../models/weight_files.ts";
import { compile, type Compiled } from "../tensor/compile.ts";
import { openBackend, type Backend } from "../tensor/open_backend.ts";
import type { Device } from "../tensor/runtime.ts";
import { mapWeights, placeWeights } from "../tensor/weights.ts";
import { openTokenizer, type OpenedTokenizer } from "../tokenizer/hub.ts";

export interface Embedder {
  /** The folder's last part. */
  readonly name: string;
  /** Over everything that the vectors depend on: vectors of different identities are not to be compared. */
  readonly sha256: string;
  /** Length of every vector. */
  readonly dimension: number;
  /** Tokens of a text that count; what is behind is cut off, as sentence-transformers does. */
  readonly maxTokens: number;
  /**
   * One vector per text, in the same order, of length 1 where the folder's modules say so (sentence-transformers' `2_Normalize`). Blocks the thread
   * while the graph runs.
   */
  embed(this: void, texts: readonly string[]): Promise<Float32Array[]>;
  /** Tokens that are read for these texts, together. */
  count(this: void, texts: readonly string[]): number;
}

/** Graphs are compiled for these many texts at once, and lengths of powers of 2 from 16, as long as both together are not more than `maxPositions`. */
const rowBuckets = [1, 4, 16, 64];
const maxPositions = 4_096;
const promptsFile = "config_sentence_transformers.json";
const smallFiles = ["config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "sentence_bert_config.json", promptsFile, indexFile];

/**
 * @param folder Hugging Face's layout; pooling and normalisation as `modules.json` and `1_Pooling/config.json` say, mean and normalised without them
 * @param compiledFolder where float32 weights and compiled graphs are kept between starts
 * @throws EverloraError invalid_model_folder
 */
export async function openEmbedder(folder: string, compiledFolder: string, device: Device): Promise<Embedder> {
  const names = await listFolder(folder, ["config.json", "tokenizer.json", "tokenizer_config.json"]);
  const config = parseBertConfig(await readJson(folder, "config.json"), folder);
  const modules = names.includes("modules.json") ? await readJson(folder, "modules.json") : null;
  const poolingFile = modules === null ? null : poolingPath(modules);
  const pooling = parsePooling(modules, poolingFile === null ? null : await readJson(folder, poolingFile), folder);
  const files = await findWeightFiles(folder, names);
  const sentence = names.includes("sentence_bert_config.json") ? await readJson(folder, "sentence_bert_config.json") : null;
  const prompt = names.includes(promptsFile) ? defaultPrompt(await readJson(folder, promptsFile)) : "";
  const tokenizer = await openTokenizer(folder);
  if (tokenizer.vocabularySize > config.vocabSize) throw fault(folder, `the tokenizer has ids up to ${tokenizer.vocabularySize - 1}, the embedding has ${config.vocabSize} rows`);
  const small = names.filter((name) => smallFiles.includes(name));
  const sha256 = await hashFiles(folder, [...small, ...(poolingFile === null ? [] : [poolingFile]), ...files.files]);
  const backend = openBackend(device);
  const expected = bertTensors(config);
  const layout = await placeWeights(join(compiledFolder, basename(folder)), sha256, new Map([...expected].map(([name, shape]) => [name, { shape, dtype: "float32" }])), async function* () {
    for await (const [name, { values }] of readWeights(files, { expected, nameOf: bertNameOf })) yield [name, values] as const;
  });
  const maxTokens = maxTokensOf(sentence, tokenizer, config);
  const toIds = tokenise(tokenizer, maxTokens, folder);
  const graphs = new Graphs(backend, mapWeights(backend, layout), config, pooling);
  return { name: basename(folder), sha256, dimension: config.hiddenSize, maxTokens, embed: (texts) => embed(texts.map((text) => toIds(prompt + text)), graphs, maxTokens), count: (texts) => texts.reduce((sum, text) => sum + toIds(prompt + text).length, 0) };
}

/** As sentence-transformers has it: its own file first, then the tokenizer's; the table of positions is the limit. */
function maxTokensOf(sentence: unknown, { config: { model_max_length: said } }: OpenedTokenizer, config: BertConfig): number {
  const own = z.looseObject({ max_seq_length: z.int().positive() }).safeParse(sentence);
  return Math.min(own.success ? own.data.max_seq_length : (said ?? config.contextLength), config.contextLength);
}

/** What some models want to have before every text. */
function defaultPrompt(json: unknown): string {
  const parsed = z.looseObject({ default_prompt_name: z.string().nullish(), prompts: z.record(z.string(), z.string()).nullish() }).safeParse(json);
  return parsed.success && parsed.data.default_prompt_name != null ? (parsed.data.prompts?.[parsed.data.default_prompt_name] ?? "") : "";
}

/** [CLS] text [SEP], cut in the text. */
function tokenise({ hub }: OpenedTokenizer, maxTokens: number, folder: string): (text: string) => number[] {
  const around = hub.encode("").ids;
  if (around.length !== 2) throw fault(folder, `tokenizer.json puts ${around.length} tokens around a text; a BERT encoder needs [CLS] and [SEP]`);
  return (text) => {
    const { ids } = hub.encode(text);
    return ids.length <= maxTokens ? ids : [...ids.slice(0, maxTokens - 1), ...ids.slice(-1)];
  };
}

class Graphs {
  readonly #compiled = new Map<string, Promise<Compiled>>();
  readonly #build: (rows: number, length: number) => Promise<Compiled>;

  constructor(backend: Backend, weights: Weights, config: BertConfig, pooling: Pooling) {
    this.#build = (rows, length) =>
      compile(backend, [{ shape: [rows, length], dtype: "int32" }, { shape: [rows], dtype: "int32" }], (tokens, lengths) => {
        if (tokens === undefined || lengths === undefined) throw new RangeError("the encoder was traced with too few inputs");
        return [pool(encode(tokens, lengths, weights, config), lengths, pooling)];
      });
  }

  of(rows: number, length: number): Promise<Compiled> {
    const key = `${rows}x${length}`;
    const known = this.#compiled.get(key);
    if (known !== undefined) return known;
    const made = this.#build(rows, length);
    this.#compiled.set(key, made);
    made.catch(() => this.#compiled.delete(key));
    return made;
  }
}

/** Texts of like length go together, so that little is spent on padding. */
async function embed(texts: readonly (readonly number[])[], graphs: Graphs, maxTokens: number): Promise<Float32Array[]> {
  const vectors = new Array<Float32Array>(texts.length);
  const order = texts.map((ids, at) => ({ ids, at })).sort((a, b) => b.ids.length - a.ids.length);
  for (let from = 0; from < order.length; ) {
    const length = Math.min(maxTokens, 2 ** Math.max(4, Math.ceil(Math.log2(order[from]?.ids.length ?? 1))));
    const most = rowBuckets.filter((rows) => rows === 1 || rows * length <= maxPositions);
    const left = order.length - from;
    // The largest that is full, so that rows are never padded.
    const rows = most.findLast((size) => size <= left) ?? 1;
    const members = order.slice(from, from + rows);
    const tokens = new Int32Array(rows * length);
    members.forEach(({ ids }, row) => tokens.set(ids, row * length));
    const graph = await graphs.of(rows, length);
    const [values] = await graph.run([tokens, Int32Array.from(members, ({ ids }) => ids.length)]);
    const dimension = (values?.length ?? 0) / rows;
    members.forEach(({ at }, row) => {
      vectors[at] = (values as Float32Array).slice(row * dimension, (row + 1) * dimension);
    });
    from += rows;
  }
  return vectors;
}

const fault = (folder: string, message: string) => new EverloraError("invalid_model_folder", `${folder}: ${message}`, { param: "EMBEDDING_MODEL" });
