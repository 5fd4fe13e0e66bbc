/**
 * A Hugging Face folder of any size with random weights: what benchmarks and memory tests need is a real model's shape, not what it says. Writes a
 * few hundred megabytes a second. The same options give the same bytes. Toy models for tests of content are in toy_model.ts.
 */
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { projectRoot } from "../../shared/config/settings.ts";
import { writeFully } from "../../shared/files/chunks.ts";
import { parseConfig } from "../../shared/models/families.ts";
import { expectedTensors } from "../../shared/models/layout.ts";
import { float32ToFloat16 } from "../../shared/models/half.ts";
import { createRandom } from "../../shared/models/random.ts";

export interface RandomModelOptions {
  readonly layers?: number;
  readonly hiddenSize?: number;
  readonly heads?: number;
  readonly keyValueHeads?: number;
  readonly intermediateSize?: number;
  readonly vocabSize?: number;
  readonly contextLength?: number;
  /** How the weights are stored. */
  readonly dtype?: "float32" | "float16" | "bfloat16";
  readonly seed?: number;
  /** More fields of config.json, or others in their place. */
  readonly overrides?: Readonly<Record<string, unknown>>;
}

/** HuggingFaceTB/SmolLM2-135M: 134.5 million parameters. The context is shorter than its 8,192 only where a caller says so. */
export const smolLm2 = { layers: 30, hiddenSize: 576, heads: 9, keyValueHeads: 3, intermediateSize: 1_536, vocabSize: 49_152, contextLength: 8_192 } as const satisfies RandomModelOptions;

const stored = { float32: { name: "F32", bytes: 4 }, float16: { name: "F16", bytes: 2 }, bfloat16: { name: "BF16", bytes: 2 } } as const;
/** Values are drawn once and every row takes a stretch of them from a random place: drawing each one would take a minute. */
const poolSize = 1 << 20;

/** Writes the folder, by default of SmolLM2-135M's shape in bfloat16 (269 MB), and returns its path. */
export async function writeRandomModel(folder: string, options: RandomModelOptions = {}): Promise<string> {
  const shape = { ...smolLm2, ...options };
  const dtype = options.dtype ?? "bfloat16";
  const json = {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    vocab_size: shape.vocabSize,
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.intermediateSize,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.keyValueHeads,
    rms_norm_eps: 1e-5,
    rope_theta: 100_000,
    max_position_embeddings: shape.contextLength,
    tie_word_embeddings: true,
    attention_bias: false,
    mlp_bias: false,
    hidden_act: "silu",
    bos_token_id: 0,
    eos_token_id: 2,
    torch_dtype: dtype,
    ...options.overrides,
  };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(json, null, 1));
  await writeTokenizer(folder, Number(json.vocab_size), shape.contextLength);
  await writeWeights(join(folder, "model.safetensors"), expectedTensors(parseConfig(json, folder)), dtype, options.seed ?? 1);
  return folder;
}

const bundled = z.looseObject({ model: z.looseObject({ vocab: z.record(z.string(), z.int()), merges: z.array(z.unknown()) }) });

/** The bundled base's byte-level tokenizer, filled up to the vocabulary with joined words that encoding never yields and decoding knows. */
async function writeTokenizer(folder: string, vocabSize: number, contextLength: number): Promise<void> {
  const source = join(projectRoot, "base_models", "everlora-tiny");
  const tokenizer = bundled.parse(JSON.parse(await readFile(join(source, "tokenizer.json"), "utf8")));
  const { vocab } = tokenizer.model;
  const words = Object.keys(vocab).filter((word) => !word.startsWith("<|"));
  if (vocabSize < words.length) throw new RangeError(`the tokenizer has ${words.length} words, a vocabulary of ${vocabSize} is too small for them`);
  const random = createRandom(7);
  const pick = () => words[Math.floor(random.next() * words.length)] ?? "";
  for (let id = Math.max(...Object.values(vocab)) + 1; id < vocabSize; ) {
    const word = pick() + pick();
    if (Object.hasOwn(vocab, word)) continue;
    vocab[word] = id++;
  }
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  const config = z.looseObject({}).parse(JSON.parse(await readFile(join(source, "tokenizer_config.json"), "utf8")));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ ...config, model_max_length: contextLength }));
}

/** Norms' gains are 1; every other matrix keeps the size of what it multiplies (normal, 1/√in). */
async function writeWeights(path: string, tensors: ReadonlyMap<string, readonly number[]>, dtype: keyof typeof stored, seed: number): Promise<void> {
  const random = createRandom(seed);
  const pool = Float32Array.from({ length: poolSize }, () => random.normal());
  const scaled = new Map<number, Uint8Array>();
  const { name: typeName, bytes } = stored[dtype];
  let end = 0;
  const header = Object.fromEntries([...tensors].map(([name, shape]) => [name, { dtype: typeName, shape, data_offsets: [end, (end += bytes * shape.reduce((product, side) => product * side, 1))] }]));
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = await open(path, "w");
  try {
    let at = 0;
    for (const part of [length, padded]) {
      await writeFully(file, part, at);
      at += part.length;
    }
    for (const shape of tensors.values()) {
      const [rows = 1, columns] = shape;
      const block = columns === undefined ? encode(new Float32Array(rows).fill(1), dtype) : matrix(rows, columns);
      await writeFully(file, block, at);
      at += block.length;
    }
  } finally {
    await file.close();
  }

  function matrix(rows: number, columns: number): Uint8Array {
    const source = scaled.get(columns) ?? encode(pool.map((value) => value / Math.sqrt(columns)), dtype);
    scaled.set(columns, source);
    const block = new Uint8Array(rows * columns * bytes);
    for (let row = 0; row < rows; row++) {
      const from = Math.floor(random.next() * (poolSize - columns)) * bytes;
      block.set(source.subarray(from, from + columns * bytes), row * columns * bytes);
    }
    return block;
  }
}

function encode(values: Float32Array, dtype: keyof typeof stored): Uint8Array {
  const bytesOf = (array: Float32Array | Uint16Array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  if (dtype === "float32") return bytesOf(values);
  if (dtype === "float16") return bytesOf(float32ToFloat16(values));
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return bytesOf(Uint16Array.from(words, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16));
}
