"""Loads adapter folders with PEFT and prints the logits that they give: how a test knows that PEFT accepts what everlora writes.

Run:   python test/golden/load_adapter.py <model folder> <adapter folder> [<model folder> <adapter folder> ...]  < sequences.json  > logits.json
Input: a list of token sequences. Output: for each pair and each sequence, the logits after its last token: [[{"base": [...], "adapter": [...]}, ...], ...].
Made with torch 2.15.0, transformers 5.23.0 and peft 0.21.2; any PEFT since 0.8 should do. Reads nothing from the network.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def last(model, ids):
    return model(torch.tensor([ids])).logits[0, -1].tolist()


torch.set_num_threads(1)
sequences = json.load(sys.stdin)
outcome = []
with torch.no_grad():
    for model, adapter in zip(sys.argv[1::2], sys.argv[2::2]):
        # Loaded again for PEFT, which changes the model that it is given.
        base, adapted = load(model), PeftModel.from_pretrained(load(model), adapter).eval()
        outcome.append([{"base": last(base, ids), "adapter": last(adapted, ids)} for ids in sequences])
json.dump(outcome, sys.stdout)
