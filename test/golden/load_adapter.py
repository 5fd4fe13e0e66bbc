"""Loads an adapter folder with PEFT and prints the logits that it gives: how a test knows that PEFT accepts what everlora writes.

Run:   python test/golden/load_adapter.py <model folder> <adapter folder>  < sequences.json  > logits.json
Input: a list of token sequences. Output: for each, the logits after its last token: [{"base": [...], "adapter": [...]}, ...].
Made with torch 2.15.0, transformers 5.23.0 and peft 0.21.2; any PEFT since 0.8 should do. Reads nothing from the network.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

# Loaded again for PEFT, which changes the model that it is given.
load = lambda: LlamaForCausalLM.from_pretrained(sys.argv[1]).float().eval()
torch.set_num_threads(1)
with torch.no_grad():
    base = load()
    adapted = PeftModel.from_pretrained(load(), sys.argv[2]).eval()
    last = lambda model, ids: model(torch.tensor([ids])).logits[0, -1].tolist()
    json.dump([{"base": last(base, ids), "adapter": last(adapted, ids)} for ids in json.load(sys.stdin)], sys.stdout)
