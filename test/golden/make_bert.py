"""Writes the golden of sentence embeddings: what sentence-transformers computes with a toy BERT of random weights.

Made with: Python 3.11.7, torch 2.15.0, transformers 5.23.0, sentence-transformers 6.2.0, tokenizers 0.23.3 (CPU, float32).
Run:       python -m venv venv && venv/bin/pip install torch transformers sentence-transformers && venv/bin/python test/golden/make_bert.py
Tests need none of this: they read the files.

bert/model/     a folder as sentence-transformers writes it: mean pooling, normalised
bert/golden.json      ids as AutoTokenizer gives them, and for each text the vector (mean, normalised) and the state of [CLS]
"""

import json
import shutil
from pathlib import Path

import torch
from make_tokenizers import CORPUS, TEXTS
from sentence_transformers import SentenceTransformer, models as modules
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, BertTokenizerFast, set_seed

HERE = Path(__file__).parent / "bert"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tokenizer():
    """WordPiece as in bert-base-uncased: accents stripped, lower case, Chinese characters apart."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIALS, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=64)


def make_model():
    set_seed(3)
    model = BertModel(BertConfig(vocab_size=200, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                weight.copy_(1 + 0.3 * torch.randn_like(weight))
            elif weight.dim() == 1:
                weight.copy_(0.2 * torch.randn_like(weight))
            else:
                weight.copy_(torch.randn_like(weight) * (1.2 / weight.shape[1] ** 0.5 if "embeddings" not in name else 0.5))
    return model.eval()


if __name__ == "__main__":
    torch.set_num_threads(1)
    shutil.rmtree(HERE, ignore_errors=True)
    bare = HERE / "bare"
    make_model().save_pretrained(bare)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(bare)
    transformer = modules.Transformer(str(bare), max_seq_length=48)
    sentences = SentenceTransformer(modules=[transformer, modules.Pooling(32, pooling_mode="mean"), modules.Normalize()], device="cpu")
    sentences.save(str(HERE / "model"))
    shutil.rmtree(bare)
    (HERE / "model" / "README.md").unlink(missing_ok=True)

    sentences = SentenceTransformer(str(HERE / "model"), device="cpu")
    texts = TEXTS + ["a long text of many words " * 20]
    states = [sentences.encode([text], output_value="token_embeddings")[0] for text in texts]
    golden = [
        dict(text=text, ids=sentences.tokenizer(text)["input_ids"], vector=[round(x, 7) for x in vector.tolist()], cls=[round(x, 7) for x in state[0].tolist()])
        for text, vector, state in zip(texts, sentences.encode(texts), states)
    ]
    (HERE / "golden.json").write_text("[\n" + ",\n".join(json.dumps(entry) for entry in golden) + "\n]\n")
    for file in HERE.rglob("*.safetensors"):
        file.chmod(0o644)
    print({len(entry["ids"]) for entry in golden})
