"""Writes the goldens of the model families: what transformers, PEFT and PyTorch compute on a toy model of each, with random weights.

Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0 (the wide cases: 5.24.0), peft 0.21.2, safetensors 0.8.0 (CPU, float32).
Run:       python -m venv venv && venv/bin/pip install torch transformers peft && venv/bin/python test/golden/make_families.py [case ...]
Tests need none of this: they read the files.

For each case it writes, in families/<case>/ beside this script:
  config.json, *.safetensors   the model, as save_pretrained writes it (a case that shares another's weights has the config only)
  adapter/                     a LoRA adapter with non-zero B on every projection, as PEFT's save_pretrained writes it
  golden.json                  token sequences, masks, losses, norms
  expected.safetensors         logits and gradients, float32
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from make_models import batch_of, gradients, logits_of, losses_of, module_of, train, with_adapter
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed

HERE = Path(__file__).parent / "families"
VOCABULARY = 64
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96, bos_token_id=0, eos_token_id=2, pad_token_id=None)
SEPARATE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
llama3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
yarn = dict(rope_type="yarn", rope_theta=500.0, factor=3.0, original_max_position_embeddings=32, beta_fast=4, beta_slow=1)
longrope = dict(rope_type="longrope", rope_theta=500.0, short_factor=[1.0, 1.1, 1.3], long_factor=[1.2, 2.0, 3.5], partial_rotary_factor=0.75)

# `weights`: the case whose weights it shares. The window, the trained length of a scaling, and the toy's sequences are chosen so that each matters.
CASES = {
    "llama2": dict(type="llama", stored=torch.float16, shard="20KB", config=dict(num_key_value_heads=4, tie_word_embeddings=False)),
    "llama_biased": dict(type="llama", stored=torch.bfloat16, config=dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True, head_dim=12)),
    "llama3": dict(type="llama", stored=torch.bfloat16, config=dict(tie_word_embeddings=True, rope_parameters=llama3)),
    "llama_linear": dict(type="llama", weights="llama3", config=dict(tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=2.5))),
    "llama_dynamic": dict(type="llama", weights="llama3", config=dict(tie_word_embeddings=True, rope_parameters=dict(rope_type="dynamic", rope_theta=500.0, factor=2.0))),
    "llama_yarn": dict(type="llama", weights="llama3", config=dict(tie_word_embeddings=True, rope_parameters=yarn)),
    "mistral": dict(type="mistral", stored=torch.bfloat16, config=dict(sliding_window=9, head_dim=10, tie_word_embeddings=False)),
    "qwen2": dict(type="qwen2", stored=torch.bfloat16, config=dict(tie_word_embeddings=True)),
    "qwen2_sliding": dict(type="qwen2", weights="qwen2", config=dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=9, max_window_layers=1)),
    "qwen3": dict(type="qwen3", stored=torch.bfloat16, config=dict(head_dim=12, tie_word_embeddings=False)),
    "gemma2": dict(type="gemma2", stored=torch.bfloat16, config=dict(head_dim=8, query_pre_attn_scalar=20, sliding_window=9, attn_logit_softcapping=4.0, final_logit_softcapping=3.0)),
    "gemma3": dict(type="gemma3_text", stored=torch.bfloat16, config=dict(num_hidden_layers=3, head_dim=8, query_pre_attn_scalar=12, sliding_window=9, layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=5000.0, factor=8.0), sliding_attention=dict(rope_type="default", rope_theta=100.0)))),
    "phi3": dict(type="phi3", stored=torch.bfloat16, targets=FUSED, config=dict(tie_word_embeddings=False, original_max_position_embeddings=64, rope_parameters=longrope)),
    "phi3_sliding": dict(type="phi3", weights="phi3", targets=FUSED, config=dict(tie_word_embeddings=False, sliding_window=9, rope_parameters=dict(rope_type="default", rope_theta=500.0))),
    # Heads of a multiple of 16, as real models have them: attention that writes its cache itself takes no others.
    "llama3_wide": dict(type="llama", stored=torch.bfloat16, config=dict(tie_word_embeddings=True, head_dim=16, rope_parameters=llama3)),
    "mistral_wide": dict(type="mistral", stored=torch.bfloat16, config=dict(sliding_window=9, head_dim=16, tie_word_embeddings=False)),
    "qwen2_wide": dict(type="qwen2", stored=torch.bfloat16, config=dict(hidden_size=64, tie_word_embeddings=True, use_sliding_window=True, sliding_window=9, max_window_layers=1)),
    "qwen3_wide": dict(type="qwen3", stored=torch.bfloat16, config=dict(head_dim=32, tie_word_embeddings=False)),
    "gemma2_wide": dict(type="gemma2", stored=torch.bfloat16, config=dict(head_dim=16, query_pre_attn_scalar=20, sliding_window=9, attn_logit_softcapping=4.0, final_logit_softcapping=3.0)),
    "gemma3_wide": dict(type="gemma3_text", stored=torch.bfloat16, config=dict(num_hidden_layers=3, head_dim=16, query_pre_attn_scalar=12, sliding_window=9, layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=5000.0, factor=8.0), sliding_attention=dict(rope_type="default", rope_theta=100.0)))),
    "phi3_sliding_wide": dict(type="phi3", stored=torch.bfloat16, targets=FUSED, config=dict(hidden_size=128, tie_word_embeddings=False, sliding_window=9, rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.5))),
}


def make_config(case):
    # No defaults of ours beyond the shape: what a family's own config class fills in is what we are to read.
    return AutoConfig.for_model(case["type"], **{**SHAPE, **case["config"]})


def make_model(name, case):
    """Random weights, large enough that attention is sharp and every part moves the logits; stored in the case's type, computed in float32."""
    set_seed(1 + list(CASES).index(name))
    model = AutoModelForCausalLM.from_config(make_config(case))
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("norm.weight"):
                weight.copy_((0 if "gemma" in case["type"] else 1) + 0.3 * torch.randn_like(weight))
            elif key.endswith("bias"):
                weight.copy_(0.3 * torch.randn_like(weight))
            elif "embed_tokens" in key or "lm_head" in key:
                weight.copy_(torch.randn_like(weight) * 0.25)
            else:
                weight.copy_(torch.randn_like(weight) * 1.5 / weight.shape[1] ** 0.5)
    model.to(case["stored"]).save_pretrained(HERE / name, max_shard_size=case.get("shard", "1GB"))


def load(name, case):
    source = HERE / case.get("weights", name)
    config = AutoConfig.from_pretrained(HERE / name)
    # Gemma 2's caps exist in the eager attention only; for all, so that one implementation is the reference.
    return AutoModelForCausalLM.from_pretrained(source, config=config, dtype=torch.float32, attn_implementation="eager").eval()


def make_case(name, case):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    if "weights" in case:
        folder.mkdir(parents=True)
        make_config(case).save_pretrained(folder)
    else:
        make_model(name, case)
        (folder / "generation_config.json").unlink(missing_ok=True)
    model = load(name, case)

    arrays, golden = {}, dict(case=name, weights=case.get("weights", name))
    random = torch.Generator().manual_seed(5)
    draw = lambda length: torch.randint(3, VOCABULARY, (length,), generator=random).tolist()
    golden["sequences"] = [draw(5), draw(40), draw(60)]
    long = golden["sequences"][2]
    if "sliding" not in name and not name.startswith("mistral"):
        changed = (logits_of(model, long) - logits_of(model, [long[0] ^ 1, *long[1:]]))[-1].abs().max().item()
        assert changed > 1e-3, f"{name}: attention hardly matters: another first token moves the last logits by {changed}"
    for at, ids in enumerate(golden["sequences"]):
        arrays[f"logits.{at}"] = logits_of(model, ids)[-8:].clone()
    examples = []
    for length, spans in [(40, [(9, 20), (31, 40)]), (23, [(12, 23)]), (17, [(1, 17)])]:
        ids = draw(length)
        examples.append(dict(ids=ids, spoken=[any(a <= at < b for a, b in spans) for at in range(length)]))
    golden["examples"] = examples
    batch = batch_of(examples)
    golden["losses"] = losses_of(model, examples)

    adapted = with_adapter(model, 0.2, r=2, lora_alpha=3, target_modules=case.get("targets", SEPARATE), lora_dropout=0.0)
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink()
    lora = {key: weight for key, weight in adapted.named_parameters() if weight.requires_grad}
    for at, ids in enumerate(golden["sequences"]):
        arrays[f"adapter.logits.{at}"] = logits_of(adapted, ids)[-4:].clone()
    for key, gradient in gradients(adapted, lora, batch).items():
        arrays[f"adapter.gradient.{module_of(key)}"] = gradient
    golden["adapter"] = dict(losses=losses_of(adapted, examples), batchLoss=adapted(**batch).loss.item())
    rates = [0.005, 0.01, 0.01, 0.009, 0.008, 0.007, 0.005, 0.003, 0.002, 0.001]
    golden["adapter"]["steps"] = train(adapted, list(lora.values()), [dict(params=list(lora.values()), weight_decay=0.0)], batch, rates, (0.9, 0.999))
    golden["adapter"]["lossesAfter"] = losses_of(adapted, examples)

    save_file({key: value.contiguous() for key, value in arrays.items()}, folder / "expected.safetensors")
    (folder / "golden.json").write_text("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()) + "\n}\n")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    print(name, golden["adapter"]["batchLoss"], [(round(s["loss"], 3), round(s["gradientNorm"], 2)) for s in golden["adapter"]["steps"]])


def make_tokenizer():
    """The engine opens no folder without one; it plays no part in these goldens. One for all: a word for each id."""
    words = {word: at for at, word in enumerate(["<s>", "<unk>", "</s>", *(chr(97 + at) for at in range(26))])}
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(words, [], unk_token="<unk>")), bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    fast.save_pretrained(HERE.parent / "tokenizers" / "toy")


if __name__ == "__main__":
    make_tokenizer()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case_name, settings in CASES.items():
        if len(sys.argv) == 1 or case_name in sys.argv[1:]:
            make_case(case_name, settings)
