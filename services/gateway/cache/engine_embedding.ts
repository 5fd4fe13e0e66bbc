/** The sentence embedding of EMBEDDING_MODEL, computed by the engine's child. Its identity is that of its files: another model's vectors lie in other partitions. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { hashFile } from "../../../shared/files/hash_file.ts";
import { normalise, type Embedding } from "./embedding.ts";

const configSchema = z.object({ hidden_size: z.int().min(1).max(65_536) });

/**
 * @param compute one vector a text
 * @throws EverloraError invalid_model_folder when the folder can't be read
 */
export async function engineEmbedding(folder: string, compute: (texts: readonly string[]) => Promise<readonly (readonly number[])[]>): Promise<Embedding> {
  const dimension = await dimensionOf(folder);
  return {
    dimension,
    identity: `model-${(await identityOf(folder)).slice(0, 32)}`,
    knowsMeaning: true,
    embed: async ({ text }) => {
      const [vector] = await compute([text]);
      if (vector?.length !== dimension) throw new EverloraError("engine_failed", `The embedding has ${vector?.length ?? 0} numbers; ${basename(folder)} should give ${dimension}.`, { param: "EMBEDDING_MODEL" });
      return normalise(Float32Array.from(vector));
    },
  };
}

async function dimensionOf(folder: string): Promise<number> {
  try {
    return configSchema.parse(JSON.parse(await readFile(join(folder, "config.json"), "utf8"))).hidden_size;
  } catch (error) {
    throw new EverloraError("invalid_model_folder", `${folder}/config.json: ${messageOf(error)}`, { param: "EMBEDDING_MODEL", hint: "Point EMBEDDING_MODEL at a complete folder of a sentence-embedding model." });
  }
}

/** SHA-256 over all that the vectors depend on: weights, tokenizer, pooling. */
async function identityOf(folder: string): Promise<string> {
  const files = (await readdir(folder, { recursive: true })).filter((name) => /\.(?:json|safetensors|txt)$/.test(name)).sort();
  const hash = createHash("sha256");
  for (const name of files) {
    hash.update(`${name}\n`);
    await hashFile(join(folder, name), [hash]);
  }
  return hash.digest("hex");
}
