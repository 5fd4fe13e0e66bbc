/**
 * llama.cpp itself opens our GGUF adapters and gives PEFT's logits with them, for every architecture that gguf.ts writes. Needs a Python that has
 * llama-cpp-python and gguf, named by TEST_LLAMA_PYTHON; without it the test is skipped and says so.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import { Decoder } from "../../shared/engine/decoder.ts";
import { adapterParameters, openLanguageModel } from "../../shared/engine/language_model.ts";
import { exportFormats } from "../../shared/export/formats.ts";
import { openModelFolder } from "../../shared/models/folder.ts";
import { readSafetensors } from "../../shared/models/safetensors.ts";
import { readAdapter, type Adapter } from "../../shared/peft/adapter.ts";
import { goldenFolder, relativeError } from "../models/golden.ts";

const script = fileURLToPath(new URL("../golden/llama_cpp_logits.py", import.meta.url));
const python = process.env["TEST_LLAMA_PYTHON"];
const answer = z.object({ version: z.string(), base: z.array(z.array(z.number())), adapter: z.array(z.array(z.number())) });
const golden = z.object({ sequences: z.array(z.array(z.int())).length(3), weights: z.string().optional() });

interface Case {
  readonly name: string;
  readonly folder: string;
  readonly model: string;
  /** Fields of config.json that llama.cpp has no counterpart of, as it takes them to be. Then our engine's logits are compared with, PEFT's being those of the unchanged model. */
  readonly changed?: Readonly<Record<string, unknown>>;
}

const family = (name: string, changed?: Case["changed"]): Case => ({ name, folder: join(goldenFolder, "families", name), model: ".", ...(changed === undefined ? {} : { changed }) });
const every: readonly Case[] = [
  ...["tied", "untied"].map((name) => ({ name, folder: join(goldenFolder, name), model: "model" })),
  ...["llama2", "llama3", "llama_biased", "qwen2", "qwen3"].map((name) => family(name)),
  // It knows no window for `llama`, to which Mistral belongs, and none for Phi-3.
  family("mistral", { sliding_window: null }),
  family("phi3_sliding", { sliding_window: null }),
  // The scale of scores is 1 / √(size of a head) there, whatever query_pre_attn_scalar says.
  family("gemma2", { query_pre_attn_scalar: 8 }),
  // Every sixth layer is a full one: of three, none.
  family("gemma3", { query_pre_attn_scalar: 8, layer_types: ["sliding_attention", "sliding_attention", "sliding_attention"] }),
];
/** float32 by two programs; GGML looks GELU up in a table of 16 bits. */
const limitOf = (modelType: string) => (modelType.startsWith("gemma") ? 1e-3 : 1e-4);

let work: string;
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-llama-"));
});
after(() => rm(work, { recursive: true, force: true }));

for (const { name, folder, model, changed } of every) {
  test(`${name}: llama.cpp gives ${changed === undefined ? "PEFT's" : "our"} logits with our GGUF adapter`, async (t) => {
    if (python === undefined) {
      t.skip("llama.cpp is not there: TEST_LLAMA_PYTHON may name a Python that has llama-cpp-python and gguf");
      return;
    }
    const { sequences, weights } = golden.parse(JSON.parse(await readFile(join(folder, "golden.json"), "utf8")));
    const base = join(work, name);
    await cp(weights === undefined ? join(folder, model) : join(goldenFolder, "families", weights), base, { recursive: true });
    await writeFile(join(base, "config.json"), JSON.stringify({ ...z.looseObject({}).parse(JSON.parse(await readFile(join(folder, model, "config.json"), "utf8"))), ...changed }));
    if (model === ".") for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) await cp(join(goldenFolder, "tokenizers", "toy", file), join(base, file));
    const opened = await openModelFolder(base);
    const adapter = await readAdapter(join(folder, "adapter"), opened.config);
    const file = join(work, `${name}.gguf`);
    await exportFormats.gguf.write(file, opened, adapter);
    const { stdout } = await promisify(execFile)(python, [script, base, file, JSON.stringify(sequences)], { maxBuffer: 1 << 24 });
    const found = answer.parse(JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
    const expected = changed === undefined ? await goldenLogits(folder, sequences.length, opened.config.vocabSize) : await ourLogits(base, adapter, sequences);
    for (const [at, last] of expected.entries()) {
      const error = relativeError(found.adapter[at] ?? [], last);
      assert.ok(error < limitOf(opened.config.modelType), `sequence ${at} differs by ${error.toExponential(2)}`);
      // Without the adapter the logits are others: the file was used.
      assert.ok(relativeError(found.base[at] ?? [], last) > 0.01, `sequence ${at}: the adapter changes nothing`);
    }
  });
}

/** PEFT's, after each sequence's last token. */
async function goldenLogits(folder: string, sequences: number, vocabSize: number): Promise<Float32Array[]> {
  const tensors = await readSafetensors(join(folder, "expected.safetensors"));
  return Array.from({ length: sequences }, (_, at) => (tensors.get(`adapter.logits.${at}`)?.values ?? assert.fail(`the golden has no adapter.logits.${at}`)).slice(-vocabSize));
}

async function ourLogits(base: string, adapter: Adapter, sequences: readonly (readonly number[])[]): Promise<Float32Array[]> {
  const decoder = new Decoder(await openLanguageModel(base, join(work, "compiled"), { provider: "cpu", threads: 1 }));
  const parameters = adapterParameters(adapter);
  const all: Float32Array[] = [];
  for (const ids of sequences) {
    const { sequence, logits } = await decoder.start(ids, parameters);
    decoder.close(sequence);
    all.push(logits);
  }
  return all;
}
