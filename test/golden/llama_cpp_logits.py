"""llama.cpp's logits on a toy model with one of our GGUF adapters: what test/export/llama_cpp.test.ts compares with PEFT's.

Run:   python llama_cpp_logits.py FOLDER ADAPTER.gguf JSON
Needs: pip install llama-cpp-python gguf numpy   (llama-cpp-python compiles llama.cpp: minutes, a C++ compiler and cmake)

FOLDER holds config.json and safetensors in Hugging Face's layout; it becomes a GGUF file here, in float32, with the names of the gguf package and the order of
rows that llama.cpp's own convert_hf_to_gguf.py gives query and key of its architecture `llama`. JSON: a list of token sequences.
Prints one JSON line: {version, base: [[logits of the last token] per sequence], adapter: [the same with the adapter]}.
"""

import json
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from gguf_model import finish, writer_for

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3_text": "gemma3", "phi3": "phi3"}


def tensors_of(folder):
    for file in sorted(folder.glob("model*.safetensors")):
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = (8 + length + at for at in entry["data_offsets"])
            raw = data[begin:end]
            if entry["dtype"] == "BF16":
                values = (np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(raw, dtype={"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype(np.float32)
            yield name, values.reshape(entry["shape"])


def permuted(values, heads):
    return values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def llama3_factors(rope, size):
    """As convert_hf_to_gguf.py: how much slower each frequency turns."""
    frequencies = 1.0 / (rope["rope_theta"] ** (np.arange(0, size, 2, dtype=np.float32) / size))
    low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    factors = []
    for frequency in frequencies:
        wave = 2 * np.pi / frequency
        smooth = (old / wave - low) / (high - low)
        factors.append(1.0 if wave < old / high else rope["factor"] if wave > old / low else 1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def write_base(folder, path):
    config = json.loads((folder / "config.json").read_text())
    family = config["model_type"]
    name = ARCHITECTURES[family]
    heads, groups, width = config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size"]
    size = config.get("head_dim") or width // heads
    rope = config.get("rope_parameters") or dict(rope_theta=config.get("rope_theta", 10000.0), **(config.get("rope_scaling") or {}))
    full = rope.get("full_attention", rope)
    writer = writer_for(path, name, config, gguf.LlamaFileType.ALL_F32)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(int(size * full.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(full["rope_theta"])
    if "sliding_attention" in rope:
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    if full.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
    if family.startswith("gemma"):
        writer.add_sliding_window(config["sliding_window"])
        if config.get("attn_logit_softcapping"):
            writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
            writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    names = gguf.get_tensor_name_map({value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[name], config["num_hidden_layers"])
    for tensor, values in tensors_of(folder):
        if name == "llama" and ".q_proj." in tensor:
            values = permuted(values, heads)
        if name == "llama" and ".k_proj." in tensor:
            values = permuted(values, groups)
        if family.startswith("gemma") and tensor.endswith("norm.weight"):
            values = values + 1
        called = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
        assert called is not None, f"GGUF has no name for {tensor}"
        writer.add_tensor(called, np.ascontiguousarray(values, dtype=np.float32))
    if full.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(full, size))
    finish(writer)


def logits_of(path, adapter, sequences):
    # Keys and values in float32: by default they are rounded to 16 bits.
    model = llama_cpp.Llama(model_path=path, lora_path=adapter, n_ctx=max(map(len, sequences)) + 8, n_batch=512, n_threads=1, n_threads_batch=1, logits_all=True, type_k=0, type_v=0, swa_full=True, verbose=False)
    found = []
    for ids in sequences:
        model.reset()
        model.eval(ids)
        found.append(model.scores[len(ids) - 1].tolist())
    model.close()
    return found


def main():
    folder, adapter, sequences = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    with tempfile.TemporaryDirectory() as work:
        path = str(Path(work) / "base.gguf")
        write_base(folder, path)
        print(json.dumps(dict(version=llama_cpp.__version__, base=logits_of(path, None, sequences), adapter=logits_of(path, adapter, sequences))))


main()
