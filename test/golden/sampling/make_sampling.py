"""Writes the golden of the sampler: probabilities after transformers' LogitsProcessors, for logits and settings of many kinds.

Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0 (CPU, float32).
Run:       python test/golden/sampling/make_sampling.py
Tests need none of this: they read sampling.json beside this script.
"""

import json
from pathlib import Path

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

VOCABULARY = 61
SETTINGS = [
    dict(temperature=1.0),
    dict(temperature=0.3),
    dict(temperature=1.7),
    dict(temperature=1.0, top_k=1),
    dict(temperature=0.8, top_k=7),
    dict(temperature=1.0, top_k=60),
    dict(temperature=1.0, top_p=0.05),
    dict(temperature=1.0, top_p=0.5),
    dict(temperature=0.7, top_p=0.92),
    dict(temperature=1.3, top_p=0.999),
    dict(temperature=1.0, min_p=0.02),
    dict(temperature=0.6, min_p=0.3),
    dict(temperature=1.2, top_k=20, top_p=0.8),
    dict(temperature=1.2, top_k=20, top_p=0.8, min_p=0.1),
    dict(temperature=0.9, top_p=0.95, min_p=0.05),
    dict(temperature=1.0, repetition_penalty=1.3),
    dict(temperature=0.7, repetition_penalty=0.8, top_k=10),
    dict(temperature=1.1, repetition_penalty=1.8, top_p=0.9, min_p=0.01),
]


def processors(settings):
    """In the order in which generate() applies them."""
    chain = LogitsProcessorList()
    if "repetition_penalty" in settings:
        chain.append(RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
    chain.append(TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        chain.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        chain.append(TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        chain.append(MinPLogitsWarper(settings["min_p"]))
    return chain


def main():
    generator = torch.Generator().manual_seed(11)
    logits = {
        "flat": torch.randn(VOCABULARY, generator=generator) * 0.2,
        "usual": torch.randn(VOCABULARY, generator=generator) * 2.5,
        "sharp": torch.randn(VOCABULARY, generator=generator) * 12,
        "shifted": torch.randn(VOCABULARY, generator=generator) * 3 - 40,
    }
    ids = torch.randint(0, VOCABULARY, (12,), generator=generator)
    cases = []
    for name, row in logits.items():
        for settings in SETTINGS:
            scores = processors(settings)(ids[None], row[None].clone())
            cases.append(dict(logits=name, settings=settings, probabilities=[float(f"{p:.9g}") for p in scores.softmax(-1)[0]]))
    log_probabilities = {name: [float(f"{p:.9g}") for p in row.log_softmax(-1)] for name, row in logits.items()}
    golden = dict(logits={name: row.tolist() for name, row in logits.items()}, ids=ids.tolist(), cases=cases, logProbabilities=log_probabilities)
    Path(__file__).with_name("sampling.json").write_text(json.dumps(golden) + "\n")


main()
