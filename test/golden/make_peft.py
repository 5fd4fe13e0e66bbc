"""Writes adapters as PEFT makes them with the settings that decide where an adapter lies, with which rank and which scale, and the logits of each.

Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0, peft 0.21.2 (CPU, float32). Needs families/llama3, which make_families.py writes.
Run:       python -m venv venv && venv/bin/pip install torch transformers peft && venv/bin/python test/golden/make_peft.py
Tests need none of this: they read the files.

peft/<case>/          adapter_config.json and adapter_model.safetensors, as PEFT's save_pretrained writes them
peft/expected.json    a token sequence, the base's logits after it, and each adapter's
"""

import json
import shutil
from pathlib import Path

import torch
from make_families import CASES as FAMILIES, SEPARATE, load
from make_models import with_adapter
from transformers import set_seed

HERE = Path(__file__).parent / "peft"
CASES = {
    "patterns": dict(r=2, lora_alpha=3, target_modules=SEPARATE, rank_pattern={"q_proj": 4, "^model.layers.1.mlp.down_proj": 1, r".*\.(gate|up)_proj": 3}, alpha_pattern={"layers.0.self_attn.v_proj": 9, "o_proj": 0.5}),
    "rslora": dict(r=4, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj"], rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"v_proj": 2}),
    "layers": dict(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], layers_to_transform=[1], layers_pattern="layers"),
    "one_layer": dict(r=2, lora_alpha=4, target_modules=["k_proj"], layers_to_transform=0),
    "expression": dict(r=2, lora_alpha=4, target_modules=r".*\.layers\.\d+\.(self_attn\.(q|o)|mlp\.up)_proj"),
    "all_linear": dict(r=1, lora_alpha=2, target_modules="all-linear"),
    "excluded": dict(r=2, lora_alpha=4, target_modules=["q_proj", "k_proj", "gate_proj"], exclude_modules=["layers.0.self_attn.k_proj", "gate_proj"]),
    "named": dict(r=2, lora_alpha=4, target_modules=["model.layers.0.self_attn.q_proj", "self_attn.v_proj"], lora_dropout=0.1),
}


def last(model, ids):
    with torch.no_grad():
        return [round(value, 6) for value in model(torch.tensor([ids])).logits[0, -1].tolist()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    shutil.rmtree(HERE, ignore_errors=True)
    ids = torch.randint(3, 64, (12,), generator=torch.Generator().manual_seed(7)).tolist()
    expected = dict(ids=ids, base=last(load("llama3", FAMILIES["llama3"]), ids), adapters={})
    for at, (name, settings) in enumerate(CASES.items()):
        set_seed(at)
        adapted = with_adapter(load("llama3", FAMILIES["llama3"]), 0.3, **settings)
        adapted.save_pretrained(HERE / name)
        (HERE / name / "README.md").unlink()
        (HERE / name / "adapter_model.safetensors").chmod(0o644)
        expected["adapters"][name] = last(adapted, ids)
        print(name, sorted({key.split(".lora_")[0].removeprefix("base_model.model.model.layers.") for key, w in adapted.named_parameters() if w.requires_grad}))
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")
