/** Sentence embeddings are sentence-transformers' (test/golden/make_bert.py), and what cannot be embedded as its author meant is refused by name. */
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { z } from "zod";
import { openEmbedder } from "../../shared/engine/embedder.ts";
import { readSafetensors, writeSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";
import { openTokenizer } from "../../shared/tokenizer/hub.ts";
import { Closeness, goldenFolder } from "../models/golden.ts";

const model = join(goldenFolder, "bert", "model");
const golden = z.array(z.object({ text: z.string(), ids: z.array(z.int()), vector: z.array(z.number()), cls: z.array(z.number()) })).min(20).parse(JSON.parse(await readFile(join(goldenFolder, "bert", "golden.json"), "utf8")));
const device = { provider: "cpu", threads: 1 } as const;
/** The golden's digits end at 1e-7. */
const limit = 1e-5;

let work = "";
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-embedder-"));
});
after(() => rm(work, { recursive: true, force: true }));

/** A copy of the model with other files. */
async function variant(name: string, files: Record<string, unknown>): Promise<string> {
  const folder = join(work, name);
  await cp(model, folder, { recursive: true });
  await mkdir(join(folder, "1_Pooling"), { recursive: true });
  for (const [file, content] of Object.entries(files)) {
    if (content === null) await rm(join(folder, file));
    else await writeFile(join(folder, file), content instanceof Uint8Array ? content : JSON.stringify(content));
  }
  return folder;
}
const open = (folder: string) => openEmbedder(folder, join(work, "compiled"), device);
const texts = golden.map(({ text }) => text);

test("WordPiece ids are those of transformers", async () => {
  const { hub } = await openTokenizer(model);
  assert.deepEqual(golden.map(({ text }) => ({ text, ids: hub.encode(text).ids })), golden.map(({ text, ids }) => ({ text, ids })));
});

test("vectors are those of sentence-transformers: mean pooling, normalised, long texts cut", async (t) => {
  const embedder = await open(model);
  assert.deepEqual([embedder.name, embedder.dimension, embedder.maxTokens], ["model", 32, 48]);
  const vectors = await embedder.embed(texts);
  assert.ok(golden.some(({ ids }) => ids.length > embedder.maxTokens), "one is cut");
  const close = new Closeness(limit);
  golden.forEach(({ text, vector }, at) => close.check(JSON.stringify(text.slice(0, 30)), vectors[at] ?? [], vector));
  close.report(t);
});

test("a text has the same vector alone and in any company", async () => {
  const embedder = await open(model);
  const together = await embedder.embed([...texts, ...texts].reverse());
  const close = new Closeness(limit);
  for (const at of [0, 3, 11, texts.length - 1]) {
    const [alone] = await embedder.embed(texts.slice(at, at + 1));
    for (const other of [together.at(-1 - at), together.at(-1 - at - texts.length)]) close.check(`text ${at}`, other ?? [], alone ?? []);
  }
  assert.deepEqual(await embedder.embed([]), []);
});

test("[CLS] instead of the mean, not normalised, from a checkpoint with heads, an old prefix and old names", async (t) => {
  const old = new Map<string, NamedTensor>([["bert.embeddings.position_ids", { shape: [1, 64], values: new Float32Array(64) }], ["cls.predictions.bias", { shape: [200], values: new Float32Array(200) }]]);
  for (const [name, tensor] of await readSafetensors(join(model, "model.safetensors"))) old.set(`bert.${name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")}`, tensor);
  assert.ok(old.has("bert.pooler.dense.weight"));
  const folder = await variant("cls", {
    "model.safetensors": writeSafetensors(old, "F32"),
    "modules.json": [{ idx: 0, name: "0", path: "", type: "sentence_transformers.models.Transformer" }, { idx: 1, name: "1", path: "1_Pooling", type: "sentence_transformers.models.Pooling" }],
    "1_Pooling/config.json": { word_embedding_dimension: 32, pooling_mode_cls_token: true, pooling_mode_mean_tokens: false, pooling_mode_max_tokens: false, pooling_mode_mean_sqrt_len_tokens: false },
  });
  const vectors = await (await open(folder)).embed(texts);
  const close = new Closeness(limit);
  golden.forEach(({ text, cls }, at) => close.check(JSON.stringify(text.slice(0, 30)), vectors[at] ?? [], cls));
  close.report(t);
});

test("a bare encoder is read as mean and normalised; its own limit of tokens, a default prompt and another identity count", async () => {
  const bare = await open(await variant("bare", { "modules.json": null, "sentence_bert_config.json": { max_seq_length: 20, do_lower_case: false }, "config_sentence_transformers.json": { default_prompt_name: "q", prompts: { q: "query: " } } }));
  const plain = await open(model);
  assert.equal(bare.maxTokens, 20);
  assert.notEqual(bare.sha256, plain.sha256);
  const [[prompted], [written]] = [await bare.embed(["river"]), await plain.embed(["query: river"])];
  new Closeness(limit).check("prompt", prompted ?? [], written ?? []);
});

const pooled = (mode: string) => ({ "1_Pooling/config.json": { word_embedding_dimension: 32, [`pooling_mode_${mode}`]: true } });
const modules = (...types: string[]) => ({ "modules.json": types.map((type, at) => ({ idx: at, name: String(at), path: at === 0 ? "" : `${at}_${type}`, type: `sentence_transformers.models.${type}` })) });
const faults: [string, Record<string, unknown>, RegExp][] = [
  ["maximum pooling", pooled("max_tokens"), /pooling max_tokens is not supported; supported: mean, cls/],
  ["no pooling", { "1_Pooling/config.json": {} }, /pooling by nothing/],
  ["two poolings", { "1_Pooling/config.json": { pooling_mode: ["mean", "max"] } }, /pooling mean and max/],
  ["a dense layer", modules("Transformer", "Pooling", "Dense"), /\[Transformer, Pooling, Dense\] is not supported/],
  ["no transformer", modules("Pooling"), /\[Pooling\] is not supported/],
  ["another family", { "config.json": { model_type: "mpnet" } }, /model_type "mpnet" is no encoder that is supported; supported: bert/],
  ["relative positions", { "config.json": { model_type: "bert", vocab_size: 200, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, max_position_embeddings: 64, position_embedding_type: "relative_key" } }, /only absolute positions/],
  ["a smaller table of words", { "config.json": { model_type: "bert", vocab_size: 190, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, max_position_embeddings: 64 } }, /the tokenizer has ids up to 199, the embedding has 190 rows/],
  ["another number of layers", { "config.json": { model_type: "bert", vocab_size: 200, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3, num_attention_heads: 4, max_position_embeddings: 64 } }, /tensor encoder\.layer\.2\.attention\.self\.query\.weight is missing/],
];
for (const [at, [name, files, message]] of faults.entries()) {
  test(`refused: ${name}`, async () => {
    await assert.rejects(open(await variant(`fault-${at}`, files)), (error: unknown) => error instanceof Error && "code" in error && error.code === "invalid_model_folder" && message.test(error.message));
  });
}
