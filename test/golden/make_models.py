"""Writes the goldens of the Llama engine: what Hugging Face's transformers, PEFT and PyTorch compute on two toy models with random weights.

Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0, tokenizers 0.23.3, numpy 2.4.6 (CPU, float32).
Run:       python -m venv venv && venv/bin/pip install torch transformers peft && venv/bin/python test/golden/make_models.py
Tests need none of this: they read the files.

For each case (`tied`, `untied`) it writes, beside this script:
  <case>/model/              the model, as save_pretrained writes it
  <case>/adapter/            a LoRA adapter with non-zero B, as PEFT's save_pretrained writes it
  <case>/golden.json         token sequences, masks, losses, norms, continuations
  <case>/expected.safetensors  logits and gradients, float32
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

HERE = Path(__file__).parent
VOCABULARY = 100
# What the cases share, and where they differ: head, rotary base, head size, query groups, context, how the weights are stored.
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=56, num_hidden_layers=2, bos_token_id=0, eos_token_id=2, pad_token_id=None)
CASES = {
    "tied": dict(seed=2, stored=torch.float32, shard="1GB", config=dict(num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=True, max_position_embeddings=128)),
    "untied": dict(seed=1, stored=torch.bfloat16, shard="30KB", config=dict(num_attention_heads=4, num_key_value_heads=1, head_dim=12, rms_norm_eps=1e-6, tie_word_embeddings=False, max_position_embeddings=300, rope_parameters={"rope_type": "default", "rope_theta": 500.0})),
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEXT = ["o rio passa perto da casa, e a casa fica na rua do rio.", "a tall house stands by the river; the river is cold.", "quem mora na casa azul? ninguem sabe."]


def make_model(case):
    """Random weights, large enough that attention is sharp and every part moves the logits; stored in the case's type, computed in float32."""
    set_seed(case["seed"])
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, **case["config"]))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.copy_(1 + 0.3 * torch.randn_like(weight))
            elif "embed_tokens" in name or "lm_head" in name:
                weight.copy_(torch.randn_like(weight) * 0.25)
            else:
                gain = 1.5
                weight.copy_(torch.randn_like(weight) * gain / weight.shape[1] ** 0.5)
            weight.copy_(weight.to(case["stored"]).float())
    return model.eval()


def make_tokenizer(folder):
    """The engine opens no folder without one; it plays no part in these goldens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<s>", "<unk>", "</s>"], show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
    fast.save_pretrained(folder)


def with_adapter(model, spread, **settings):
    """LoRA as PEFT makes it, but B is not zero: a trained adapter."""
    model.name_or_path = "toy"
    adapted = get_peft_model(model, LoraConfig(bias="none", task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn_like(weight) * spread)
    return adapted


def sequences(length_of_last):
    random = torch.Generator().manual_seed(5)
    draw = lambda length: torch.randint(3, VOCABULARY, (length,), generator=random).tolist()
    return [draw(5), draw(33), draw(length_of_last)]


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def labels_of(example):
    return [token if spoken else -100 for token, spoken in zip(example["ids"], example["spoken"])]


def batch_of(examples):
    length = max(len(example["ids"]) for example in examples)
    pad = lambda values, filler: torch.tensor([row + [filler] * (length - len(row)) for row in values])
    return dict(input_ids=pad([e["ids"] for e in examples], 0), attention_mask=pad([[1] * len(e["ids"]) for e in examples], 0), labels=pad([labels_of(e) for e in examples], -100))


def losses_of(model, examples):
    with torch.no_grad():
        return [model(**batch_of([example])).loss.item() for example in examples]


def train(model, parameters, groups, batch, learning_rates, betas):
    """Ten steps of torch's AdamW. The norms are those before clipping."""
    optimiser = torch.optim.AdamW(groups, lr=learning_rates[0], betas=betas, eps=1e-8)
    steps = []
    for learning_rate in learning_rates:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        optimiser.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        steps.append(dict(learningRate=learning_rate, loss=loss.item(), gradientNorm=norm.item()))
    return steps


def gradients(model, parameters, batch):
    model.zero_grad()
    model(**batch).loss.backward()
    return {name: weight.grad.clone() for name, weight in parameters.items()}


def continuations(model, prompts, count):
    """Greedy, and the smallest distance between the likeliest token and the next: a tie would prove nothing."""
    made = []
    for prompt in prompts:
        ids = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)[0].tolist()
        top = logits_of(model, ids[:-1])[len(prompt) - 1 :].topk(2).values
        margin = (top[:, 0] - top[:, 1]).min().item()
        answer = ids[len(prompt) :]
        assert margin > 1e-3, f"two tokens are as good as equal ({margin}); choose another seed"
        assert len(set(answer)) >= 6, f"the answer only repeats itself: {answer}"
        made.append(dict(prompt=prompt, answer=answer, margin=margin))
    return made


def module_of(name):
    """base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight -> model.layers.0.self_attn.q_proj.A"""
    return name.removeprefix("base_model.model.").replace(".lora_A.default.weight", ".A").replace(".lora_B.default.weight", ".B")


def make_case(name, case):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = make_model(case)
    context = model.config.max_position_embeddings
    make_tokenizer(folder / "model")
    model.to(case["stored"]).save_pretrained(folder / "model", max_shard_size=case["shard"])
    # Read back rather than converted back: model.to(bfloat16) has rounded the rotary frequencies as well, which loading in float32 doesn't.
    model = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()

    arrays, golden = {}, dict(case=name)
    golden["sequences"] = sequences(context - 8)
    middle = golden["sequences"][1]
    changed = (logits_of(model, middle) - logits_of(model, [middle[0] ^ 1, *middle[1:]]))[-1].abs().max().item()
    assert changed > 0.02, f"attention hardly matters: another first token moves the last logits by {changed}"
    for at, ids in enumerate(golden["sequences"]):
        arrays[f"logits.{at}"] = logits_of(model, ids)[-40:].clone()
    random = torch.Generator().manual_seed(6)
    examples = []
    for length, spans in [(40, [(9, 20), (31, 40)]), (23, [(12, 23)]), (17, [(1, 17)])]:
        ids = torch.randint(3, VOCABULARY, (length,), generator=random).tolist()
        examples.append(dict(ids=ids, spoken=[any(a <= at < b for a, b in spans) for at in range(length)]))
    golden["examples"] = examples
    # Caches grow at 64 and, in a larger context, at 256: answers that stay below, cross, begin beyond, and fill the context.
    long = golden["sequences"][2]
    prompts = [middle[:7], long[:56], long[3:93], long[: context - 50], long[: context - 20]]

    batch = batch_of(examples)
    golden["base"] = dict(losses=losses_of(model, examples), batchLoss=model(**batch).loss.item(), continuations=continuations(model, prompts, 20))
    if name == "tied":
        for key, gradient in gradients(model, dict(model.named_parameters()), batch).items():
            arrays[f"gradient.{key}"] = gradient
    else:
        arrays["gradient.lm_head.weight"] = gradients(model, dict(model.named_parameters()), batch)["lm_head.weight"]

    adapted = with_adapter(model, 0.15, r=4, lora_alpha=8, target_modules=TARGETS, lora_dropout=0.0)
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink()
    lora = {key: weight for key, weight in adapted.named_parameters() if weight.requires_grad}
    for at, ids in enumerate(golden["sequences"]):
        arrays[f"adapter.logits.{at}"] = logits_of(adapted, ids)[-20:].clone()
    golden["adapter"] = dict(losses=losses_of(adapted, examples), batchLoss=adapted(**batch).loss.item(), continuations=continuations(adapted, prompts[:2], 20))
    for key, gradient in gradients(adapted, lora, batch).items():
        arrays[f"adapter.gradient.{module_of(key)}"] = gradient
    # Warm-up and decay as a schedule would have them; the first gradients are longer than 1, so that clipping is at work.
    rates = [0.005, 0.01, 0.01, 0.009, 0.008, 0.007, 0.005, 0.003, 0.002, 0.001]
    steps = train(adapted, list(lora.values()), [dict(params=list(lora.values()), weight_decay=0.0)], batch, rates, (0.9, 0.999))
    golden["adapter"]["training"] = dict(steps=steps, finalNorms={module_of(key): weight.norm().item() for key, weight in lora.items()}, lossesAfter=losses_of(adapted, examples))

    # All weights, as pre-training does it: matrices decay, gains don't.
    whole = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    weights = dict(whole.named_parameters())
    groups = [dict(params=[w for w in weights.values() if w.dim() > 1], weight_decay=0.1), dict(params=[w for w in weights.values() if w.dim() == 1], weight_decay=0.0)]
    steps = train(whole, list(weights.values()), groups, batch, rates, (0.9, 0.95))
    golden["base"]["training"] = dict(steps=steps, finalNorms={key: weight.norm().item() for key, weight in weights.items()}, lossesAfter=losses_of(whole, examples))

    save_file({key: value.contiguous() for key, value in arrays.items()}, folder / "expected.safetensors")
    (folder / "golden.json").write_text("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()) + "\n}\n")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    print(name, {key: golden[key]["batchLoss"] for key in ("base", "adapter")}, [c["margin"] for k in ("base", "adapter") for c in golden[k]["continuations"]])
    for kind in ("base", "adapter"):
        print(kind, [(round(s["loss"], 3), round(s["gradientNorm"], 2)) for s in golden[kind]["training"]["steps"]])


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case_name, settings in CASES.items():
        make_case(case_name, settings)
