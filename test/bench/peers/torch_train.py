"""The peer of `npm run bench -- train`: LoRA steps of the same shape in PyTorch and PEFT on the CPU. One JSON line per mode.

Usage: python torch_train.py MODE ROWS LENGTH RANK STEPS     MODE: float32 | bfloat16 | float32-compiled | bfloat16-compiled
Random weights (SmolLM2-135M's shape), every token trained, AdamW: what train.ts does. Modes run in processes of their own, for peak memory.
"""
import json
import sys
import time

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

mode, rows, length, rank, steps = sys.argv[1], *map(int, sys.argv[2:6])
torch.manual_seed(1)
config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                     rms_norm_eps=1e-5, max_position_embeddings=8192, tie_word_embeddings=True, use_cache=False)
model = LlamaForCausalLM(config).to(torch.bfloat16 if mode.startswith("bfloat16") else torch.float32)
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# PEFT keeps an adapter in float32 beside a bfloat16 base unless told otherwise: autocast then runs its products in bfloat16.
model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM"))
model.train()
optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
forward = torch.compile(model) if mode.endswith("compiled") else model
tokens = torch.randint(0, config.vocab_size, (rows, length))


def step():
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode.startswith("bfloat16")):
        loss = forward(input_ids=tokens, labels=tokens).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss.item()


seconds, losses = [], []
for _ in range(steps + 1):
    started = time.perf_counter()
    losses.append(step())
    seconds.append(time.perf_counter() - started)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
best = min(seconds[1:])
print(json.dumps({"mode": mode, "tokensPerSecond": rows * length / best, "secondsPerStep": best, "firstStep": seconds[0], "peakMiB": peak, "losses": losses,
                  "threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}))
