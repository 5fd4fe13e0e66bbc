"""Writes test/golden/training/: ten steps of PyTorch's AdamW with each of the settings that a run may have, on the toy model and adapter of `tied`.

Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0 (CPU, float32).
Run after: make_models.py; in the same environment: venv/bin/python test/golden/make_training.py
Tests need none of this: they read the files.

For each case: the settings, the learning rate, loss and gradient norm of each step, and the adapter's tensors after the tenth.
"""

import json
from pathlib import Path

import torch
from make_models import module_of
from peft import PeftConfig, PeftModel
from safetensors.torch import save_file
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR
from transformers import LlamaForCausalLM

HERE = Path(__file__).parent
CASE = HERE / "tied"
STEPS = 10
CASES = {
    "cosine": dict(schedule="cosine", warmUp=3, weightDecay=0.0, clipNorm=1.0, accumulation=1, rankStabilised=False),
    "linear-decay": dict(schedule="linear", warmUp=2, weightDecay=0.1, clipNorm=0.0, accumulation=1, rankStabilised=False),
    "constant-clip": dict(schedule="constant", warmUp=4, weightDecay=0.01, clipNorm=0.2, accumulation=1, rankStabilised=False),
    "accumulation": dict(schedule="cosine", warmUp=2, weightDecay=0.05, clipNorm=0.5, accumulation=2, rankStabilised=False),
    "rslora": dict(schedule="linear", warmUp=1, weightDecay=0.02, clipNorm=1.0, accumulation=2, rankStabilised=True),
}
PEAK = 0.01


def scheduler_of(optimiser, schedule, warm_up):
    """PyTorch's own schedulers, one after the other."""
    climbing = LinearLR(optimiser, start_factor=1 / warm_up, end_factor=1.0, total_iters=max(warm_up - 1, 1)) if warm_up > 1 else ConstantLR(optimiser, factor=1.0, total_iters=1)
    rest = STEPS - warm_up
    falling = {
        "cosine": lambda: CosineAnnealingLR(optimiser, T_max=rest),
        "linear": lambda: LinearLR(optimiser, start_factor=1.0, end_factor=0.0, total_iters=rest),
        "constant": lambda: ConstantLR(optimiser, factor=1.0, total_iters=rest),
    }[schedule]()
    return SequentialLR(optimiser, [climbing, falling], milestones=[warm_up])


def loss_sum(model, example):
    """Sum over the trained tokens, and their number. Each example alone: padding can't play a part."""
    ids = torch.tensor([example["ids"]])
    logits = model(ids).logits[0, :-1]
    spoken = torch.tensor(example["spoken"][1:])
    return torch.nn.functional.cross_entropy(logits[spoken], ids[0, 1:][spoken], reduction="sum"), int(spoken.sum())


def make(name, case, examples):
    config = PeftConfig.from_pretrained(CASE / "adapter")
    config.use_rslora = case["rankStabilised"]
    config.inference_mode = False
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(CASE / "model", dtype=torch.float32), CASE / "adapter", config=config, is_trainable=True).eval()
    lora = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
    optimiser = torch.optim.AdamW(lora.values(), lr=PEAK, betas=(0.9, 0.999), eps=1e-8, weight_decay=case["weightDecay"])
    scheduler = scheduler_of(optimiser, case["schedule"], case["warmUp"])
    # With accumulation: two examples, then one, with another number of trained tokens; the mean is over all of them.
    batches = [examples[:2], examples[2:]] if case["accumulation"] == 2 else [examples[:2]]
    steps = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        tokens = sum(sum(e["spoken"][1:]) for batch in batches for e in batch)
        total = 0.0
        for batch in batches:
            loss = sum(loss_sum(model, example)[0] for example in batch) / tokens
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(lora.values(), case["clipNorm"] if case["clipNorm"] > 0 else float("inf"))
        rate = optimiser.param_groups[0]["lr"]
        optimiser.step()
        scheduler.step()
        steps.append(dict(learningRate=rate, loss=total, gradientNorm=norm.item()))
    return dict(name=name, settings=case, steps=steps), {f"{name}.{module_of(key)}": weight.detach().clone().contiguous() for key, weight in lora.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    examples = json.loads((CASE / "golden.json").read_text())["examples"]
    made, arrays = [], {}
    for case_name, settings in CASES.items():
        golden, weights = make(case_name, settings, examples)
        made.append(golden)
        arrays |= weights
        print(case_name, [(round(s["learningRate"], 5), round(s["loss"], 3), round(s["gradientNorm"], 2)) for s in golden["steps"]])
    folder = HERE / "training"
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / "expected.safetensors")
    (folder / "expected.safetensors").chmod(0o644)
    (folder / "golden.json").write_text("[\n" + ",\n".join(json.dumps(golden) for golden in made) + "\n]\n")
