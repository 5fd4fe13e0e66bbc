/** A Hugging Face folder with the adapter merged: what transformers, vLLM or llama.cpp's converter open without knowing of adapters. */
import { copyFile, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createFileAtomic, writeFileAtomic } from "../files/atomic.ts";
import { writeFully } from "../files/chunks.ts";
import type { ModelFolder } from "../models/folder.ts";
import { expectedTensors } from "../models/layout.ts";
import type { Adapter } from "../peft/adapter.ts";
import { mergedWeights } from "./merge.ts";

/** Besides config and weights, what a folder is opened with. */
const copied = /^(?:generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.jinja)$/;

/** Writes the folder; the weights in float32, one tensor in memory at a time. @throws EverloraError invalid_model_folder */
export async function writeMergedFolder(out: string, base: ModelFolder, adapter: Adapter): Promise<void> {
  await createFileAtomic(join(out, "model.safetensors"), async (file) => {
    const places = new Map<string, number>();
    const header: [string, unknown][] = [["__metadata__", { format: "pt" }]];
    let end = 0;
    for (const [name, shape] of expectedTensors(base.config)) {
      const bytes = shape.reduce((product, side) => product * side, 4);
      header.push([name, { dtype: "F32", shape, data_offsets: [end, end + bytes] }]);
      places.set(name, end);
      end += bytes;
    }
    const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
    const padded = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, " ");
    padded.writeBigUInt64LE(BigInt(padded.length - 8));
    json.copy(padded, 8);
    await writeFully(file, padded, 0);
    for await (const [name, values] of mergedWeights(base, adapter)) await writeFully(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), padded.length + (places.get(name) ?? 0));
  });
  for (const name of await readdir(base.folder)) if (copied.test(name)) await copyFile(join(base.folder, name), join(out, name));
  const config = JSON.parse(await readFile(join(base.folder, "config.json"), "utf8")) as Record<string, unknown>;
  await writeFileAtomic(join(out, "config.json"), `${JSON.stringify({ ...config, torch_dtype: "float32", ...("dtype" in config ? { dtype: "float32" } : {}) }, null, 2)}\n`);
}
