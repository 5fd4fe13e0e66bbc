"""llama.cpp's tokens a second, decoding one stream and eight in a batch, at 4 bit (Q4_0) on a random model of the shape of a Hugging Face folder.

Usage:  python llama_cpp_decode.py FOLDER PROMPT_TOKENS TOKENS
Needs:  pip install llama-cpp-python gguf numpy   (llama-cpp-python compiles llama.cpp: minutes, a C++ compiler and cmake)
Prints one JSON line: {version, tokensPerSecond, eightTokensPerSecond, promptTokensPerSecond, threads}.

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


def batch_rate(model, streams, prompt_tokens, tokens, threads):
    """Tokens a second of so many sequences together, each read by itself before; through the C interface, which alone knows batches."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_seq_max = streams * (prompt_tokens + tokens + 16), max(prompt_tokens, 64), streams
    params.n_threads = params.n_threads_batch = threads
    params.no_perf = True
    context = llama_cpp.llama_init_from_model(model._model.model, params)
    batch = llama_cpp.llama_batch_init(max(prompt_tokens, streams), 0, 1)

    def decode(entries):
        batch.n_tokens = len(entries)
        for at, (token, position, stream, wanted) in enumerate(entries):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = token, position, 1, stream, wanted
        if llama_cpp.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")

    best = 0.0
    for attempt in range(3):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        for stream in range(streams):
            decode([(10 + (stream * 31 + at * 7919) % 40000, at, stream, at + 1 == prompt_tokens) for at in range(prompt_tokens)])
        begun = time.perf_counter()
        for step in range(tokens):
            decode([(5 + step, prompt_tokens + step, stream, True) for stream in range(streams)])
        best = max(best, streams * tokens / (time.perf_counter() - begun))
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    return best


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
        eight = batch_rate(model, 8, prompt_tokens, tokens, threads)
        print(json.dumps(dict(version=llama_cpp.__version__, tokensPerSecond=best, eightTokensPerSecond=eight, promptTokensPerSecond=best_prompt, threads=threads)))


main()
