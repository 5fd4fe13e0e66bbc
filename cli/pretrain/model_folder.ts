/** Writes a base model as a Hugging Face folder: config, float16 weights, tokenizer, chat template, and the card. */
import { join } from "node:path";
import { writeFileAtomic } from "../../shared/files/atomic.ts";
import { makeFolder } from "../../shared/files/folder.ts";
import { writeSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";

export const specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] as const;

/** ChatML, as Qwen and SmolLM2 use it. */
const chatTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

export interface TinySize {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly contextLength: number;
}

export function configJson(size: TinySize): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: size.vocabularySize,
    hidden_size: size.hiddenSize,
    intermediate_size: size.intermediateSize,
    num_hidden_layers: size.layers,
    num_attention_heads: size.heads,
    num_key_value_heads: size.keyValueHeads,
    head_dim: size.hiddenSize / size.heads,
    hidden_act: "silu",
    max_position_embeddings: size.contextLength,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: 0,
    eos_token_id: 2,
    torch_dtype: "float16",
  };
}

const tokenizerConfigJson = (contextLength: number) => ({
  tokenizer_class: "PreTrainedTokenizerFast",
  bos_token: specials[0],
  eos_token: specials[2],
  pad_token: specials[0],
  model_max_length: contextLength,
  clean_up_tokenization_spaces: false,
  add_bos_token: false,
  chat_template: chatTemplate,
});

export async function writeTokenizer(folder: string, tokenizerJson: unknown, contextLength: number): Promise<void> {
  await makeFolder(folder);
  await writeFileAtomic(join(folder, "tokenizer.json"), JSON.stringify(tokenizerJson));
  await writeFileAtomic(join(folder, "tokenizer_config.json"), `${JSON.stringify(tokenizerConfigJson(contextLength), null, 2)}\n`);
}

export async function writeModel(folder: string, size: TinySize, tensors: ReadonlyMap<string, NamedTensor>, card: string, lossCurveSvg: string): Promise<void> {
  await makeFolder(folder);
  await writeFileAtomic(join(folder, "config.json"), `${JSON.stringify(configJson(size), null, 2)}\n`);
  await writeFileAtomic(join(folder, "generation_config.json"), `${JSON.stringify({ bos_token_id: 0, eos_token_id: 2, do_sample: true, temperature: 0.7, top_p: 0.9 }, null, 2)}\n`);
  await writeFileAtomic(join(folder, "model.safetensors"), writeSafetensors(tensors, "F16"));
  await writeFileAtomic(join(folder, "loss.svg"), lossCurveSvg);
  await writeFileAtomic(join(folder, "README.md"), card);
}

