/**
 * A Llama of a few thousand parameters with random weights, as a Hugging Face folder: for tests that need a model and not what it says. The same
 * seed gives the same bytes.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ModelConfig } from "../../shared/models/config.ts";
import { parseConfig } from "../../shared/models/families.ts";
import { expectedTensors } from "../../shared/models/layout.ts";
import { createRandom } from "../../shared/models/random.ts";
import { writeSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";
import { trainBpe } from "../../shared/tokenizer/bpe_trainer.ts";

export const toyConfigJson = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  vocab_size: 272,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  max_position_embeddings: 96,
  tie_word_embeddings: false,
  hidden_act: "silu",
  eos_token_id: 1,
};

const toySpecials = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"];
const template = "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

export function toyConfig(overrides: Record<string, unknown> = {}): ModelConfig {
  return parseConfig({ ...toyConfigJson, ...overrides }, "toy");
}

/** Normal values small enough to keep the untrained loss near that of a uniform guess; gains near one. */
export function toyWeights(config: ModelConfig, seed = 1): Map<string, NamedTensor> {
  const random = createRandom(seed);
  return new Map(
    [...expectedTensors(config)].map(([name, shape]) => {
      const values = new Float32Array(shape.reduce((product, side) => product * side, 1)).map(() => (shape.length === 1 ? 1 + 0.1 * random.normal() : 0.25 * random.normal()));
      return [name, { shape, values }] as const;
    }),
  );
}

/** Writes the folder and returns its path. @param overrides fields of config.json */
export async function writeToyModel(folder: string, options: { seed?: number; overrides?: Record<string, unknown> } = {}): Promise<string> {
  const json = { ...toyConfigJson, ...options.overrides };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(json));
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(trainBpe(["the order is on its way, the order is late. o pedido está a caminho."], toyConfigJson.vocab_size, toySpecials)));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ tokenizer_class: "PreTrainedTokenizerFast", eos_token: "<|end|>", chat_template: template }));
  await writeFile(join(folder, "model.safetensors"), writeSafetensors(toyWeights(parseConfig(json, "toy"), options.seed), "F32"));
  return folder;
}
