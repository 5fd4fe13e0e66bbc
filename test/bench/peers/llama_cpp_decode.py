"""llama.cpp's tokens a second, decoding one stream at 4 bit (Q4_0) on a random model of the shape of a Hugging Face folder.

Usage:  python llama_cpp_decode.py FOLDER PROMPT_TOKENS TOKENS
Needs:  pip install llama-cpp-python gguf numpy   (llama-cpp-python compiles llama.cpp: minutes, a C++ compiler and cmake)
Prints one JSON line: {version, tokensPerSecond, promptTokensPerSecond, threads}.

The weights are random and quantised by gguf's own Q4_0; what they say does not matter, their size and shape do. As in llama.cpp's own Q4_0 files,
embedding and head are quantised, too.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
from gguf_model import finish, writer_for


def write_model(config, path):
    layers, width, inner, words = config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    size, groups = width // config["num_attention_heads"], config["num_key_value_heads"]
    writer = writer_for(path, "llama", config, gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config["rope_theta"])
    random = np.random.default_rng(1)

    def matrix(name, rows, columns):
        values = (random.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)).astype(np.float32)
        writer.add_tensor(name, gguf.quantize(values, gguf.GGMLQuantizationType.Q4_0), raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    def gain(name):
        writer.add_tensor(name, np.ones(width, dtype=np.float32))

    matrix("token_embd.weight", words, width)
    gain("output_norm.weight")
    for layer in range(layers):
        block = f"blk.{layer}."
        gain(block + "attn_norm.weight")
        gain(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", width, width)
        matrix(block + "attn_k.weight", groups * size, width)
        matrix(block + "attn_v.weight", groups * size, width)
        matrix(block + "attn_output.weight", width, width)
        matrix(block + "ffn_gate.weight", inner, width)
        matrix(block + "ffn_up.weight", inner, width)
        matrix(block + "ffn_down.weight", width, inner)
    finish(writer)


def main():
    folder, prompt_tokens, tokens = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    config = json.loads((folder / "config.json").read_text())
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as work:
        path = str(Path(work) / "model.gguf")
        write_model(config, path)
        model = llama_cpp.Llama(model_path=path, n_ctx=prompt_tokens + tokens + 16, n_threads=threads, n_threads_batch=threads, logits_all=False, verbose=False)
        best, best_prompt = 0.0, 0.0
        for attempt in range(3):
            model.reset()
            model.eval([10 + at for at in range(8)])  # warm
            model.reset()
            begun = time.perf_counter()
            model.eval([10 + (at * 7919) % 40000 for at in range(prompt_tokens)])
            read = time.perf_counter()
            for at in range(tokens):
                model.eval([5 + at])
            best = max(best, tokens / (time.perf_counter() - read))
            best_prompt = max(best_prompt, prompt_tokens / (read - begun))
        print(json.dumps(dict(version=llama_cpp.__version__, tokensPerSecond=best, promptTokensPerSecond=best_prompt, threads=threads)))


main()
