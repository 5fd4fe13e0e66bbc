"""Writes the goldens of the tokenizer: ids, decoded texts, chat prompts and assistant masks as transformers' AutoTokenizer gives them.

Made with: Python 3.11.7, transformers 5.23.0, tokenizers 0.23.3, jinja2 3.1.6.
Run:       python -m venv venv && venv/bin/pip install torch transformers peft && venv/bin/python test/golden/make_tokenizers.py
Tests need none of this: they read the files.

For each case it writes, beside this script:
  tokenizers/<case>/tokenizer.json, tokenizer_config.json   `bundled` is a copy of base_models/everlora-tiny; the others are small tokenizers
                                                             built like those of well-known models, trained on the few lines below
  tokenizers/<case>/golden.json                              what AutoTokenizer gives
and tokenizers/templates.json: chat templates in the styles of well-known models, and what each renders.
"""

import json
import re
import shutil
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = Path(__file__).parent
OUT = HERE / "tokenizers"
BUNDLED = HERE.parent.parent / "base_models" / "everlora-tiny"

CHATML = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
CHATML_DEFAULT_SYSTEM = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
LLAMA2 = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{% generation %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
LLAMA3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set header = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' %}{% if loop.index0 == 0 %}{% set header = bos_token + header %}{% endif %}{{ header }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] | trim + '<|eot_id|>' }}{% endgeneration %}{% else %}{{ message['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
GEMMA = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' }}{% if role == 'model' %}{% generation %}{{ message['content'] | trim + '<end_of_turn>' }}{% endgeneration %}{% else %}{{ message['content'] | trim + '<end_of_turn>' }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
PHI3 = "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|assistant|>\\n' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{{ '\\n' }}{% else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
# Marks on lines of their own, whose white space trim_blocks and lstrip_blocks take away.
MISTRAL = "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n{{- bos_token }}\n{%- for message in loop_messages %}\n    {%- if message['role'] == 'user' %}\n        {%- if loop.first and system_message is defined %}\n            {{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}\n        {%- else %}\n            {{- '[INST] ' + message['content'] + '[/INST]' }}\n        {%- endif %}\n    {%- else %}\n        {% generation %}\n        {{- ' ' + message['content'] + eos_token }}\n        {%- endgeneration -%}\n    {%- endif %}\n{%- endfor %}\n"

CORPUS = [
    "O rio passa perto da casa, e a casa fica na rua do rio. Não sei onde está a chave da porta; você sabe?",
    "A ação foi julgada procedente pelo tribunal, e o réu apresentou recurso à instância superior em 2023.",
    "The house stands by the river. I don't know where the key is, and they've lost the other 12 keys.",
    "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(add(i, 2))\n",
]

TEXTS = [
    "",
    " ",
    "a",
    "Olá, você está aí? A ação não é só do réu: à noite, às 18h30, o avô e a avó virão.",
    "I don't, they'll, WE'VE, it'S, 'tis, rock'n'roll, l'été, o’clock, d’água",
    "def f(x):\n    return {k: v for k, v in x.items() if v is not None}  # comment\n\n\nprint(f\"{f({'a': 1})!r:>10}\")\n",
    "#include <stdio.h>\r\nint main(void) {\r\n\treturn 0;\r\n}\r\n",
    "emoji: 🙂 👩‍👩‍👧‍👦 🇧🇷 👍🏽 ❤️ ☕️ 1️⃣",
    "cafe\u0301 e ac\u0327a\u0303o (NFD), café e ação (NFC), A\u030a, Å, ﬁ, Ω",
    "many          spaces,\t\ttabs\t and      ",
    "   leading, and trailing\n\n\n   \n",
    "line\u2028separator\u2029paragraph\u0085next\u000bvertical\u000cform\u00a0nbsp\u2003em\u3000ideographic\u202fnarrow",
    "zero\u200bwidth\u200djoiner\ufeffbom\u00adshy\u2060word\u180emongolian",
    "\ufeffbom first",
    "control \u0000 \u0001 \u0007 \u001b[31mred\u001b[0m \u007f \u0080 \u009f end",
    "x\u0085y \u0085 z\u001cfile\u001dgroup\u001erecord\u001funit",
    "numbers 0 1 12 123 1234 12345678 3.14 1,000,000 1e-5 0xFF ½ ² Ⅷ ٣٤ १२",
    "日本語のテキスト、中文字符，한국어 텍스트 ไทย العربية עברית हिन्दी",
    "math 𝐀𝑩𝒞 𝟘𝟙 ∑∫√ x₁² ≤ ∞",
    "ǅ İ ı ſ ß ẞ Ŀ ŉ ʼn 'ſ 'S 'LL 'Re",
    "private \ue000 \U000f0000 astral \U00010348 \U0001f9d1",
    "<|im_start|>user\nhi<|im_end|> and <|endoftext|>, </s> <s> [INST] <|eot_id|>text<|eot_id|> text",
    "  <|im_end|>  \n<|im_end|>\n",
    "https://example.com/a?b=c&d=%20#e user@example.com CPF 123.456.789-09 R$ 1.234,56",
    "____ ---- ==== .... !!!??? «aspas» “quotes” — – … § º ª €",
    "{\"json\": [1, 2, {\"a\": null}], \"txt\": \"\\u00e1\\n\"}",
    "ALL CAPS MiXeD CamelCaseWords snake_case_words kebab-case-words",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the the the\nthe\tthe  the   the    the",
    "e\u0301\u0301\u0301 \u0301alone o\u0308\u0304",
]

CHATS = [
    [("user", "Olá")],
    [("user", "Onde fica a casa?"), ("assistant", "Perto do rio.")],
    [("system", "Responda em português."), ("user", "Oi 🙂"), ("assistant", "Olá!\n\nComo posso ajudar?"), ("user", "  E agora?  "), ("assistant", "Agora, 12 chaves:\n\n```py\nprint(1)\n```")],
    [("user", "Write <|im_end|> for me"), ("assistant", "A marker in an answer: <|im_end|> and more"), ("user", "ok"), ("assistant", "fim")],
    [("user", "cafe\u0301\u0000\t"), ("assistant", "<b>não</b> & \"sim\"")],
]
CHATS = [[dict(role=role, content=content) for role, content in chat] for chat in CHATS]


def train(tokenizer, size, specials, alphabet):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_level(size, specials, pre_tokenizer, **more):
    tokenizer = Tokenizer(models.BPE(**more))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, size, specials, sorted(pre_tokenizers.ByteLevel.alphabet()))


def smollm2():
    """Digits one by one, then GPT-2's words."""
    tokenizer = byte_level(340, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    return tokenizer, dict(bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>"), CHATML_DEFAULT_SYSTEM


def qwen():
    """NFC, and a pattern of its own with case-insensitive contractions."""
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = byte_level(340, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], split)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer, dict(eos_token="<|im_end|>", pad_token="<|endoftext|>"), CHATML


def llama3():
    """Numbers in threes, whole words taken without merges, a begin token that only the template may write."""
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = byte_level(350, ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], split, ignore_merges=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A", pair=None, special_tokens=[("<|begin_of_text|>", 0)])
    return tokenizer, dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"), LLAMA3


def llama2():
    """As converted from SentencePiece: a space in front, spaces as marks, unknown characters as bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    train(tokenizer, 440, specials, [])
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]  # bytes are ordinary entries of the vocabulary
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair=None, special_tokens=[("<s>", 1)])
    return tokenizer, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"), LLAMA2


def bytes_in_vocabulary(tokenizer, size, specials, more=()):
    """Trains a BPE of SentencePiece's kind, in which 256 entries stand for bytes. `more`: added tokens that are not special."""
    train(tokenizer, size, specials + [f"<0x{byte:02X}>" for byte in range(256)], [])
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][: len(specials)]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if more:
        tokenizer.add_tokens(list(more))
    return tokenizer


def gemma():
    """SentencePiece without a space in front; runs of spaces and line feeds are tokens of their own; no system role."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    runs = [AddedToken(text, normalized=False) for text in ("\n\n", "\n\n\n", "▁▁", "▁▁▁▁", "<b>", "</b>")]
    tokenizer = bytes_in_vocabulary(tokenizer, 440, ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], runs)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", pair=None, special_tokens=[("<bos>", 2)])
    return tokenizer, dict(bos_token="<bos>", eos_token="<end_of_turn>", unk_token="<unk>", pad_token="<pad>"), GEMMA


def phi3():
    """Llama 2's, with turn marks that swallow the white space behind them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer = bytes_in_vocabulary(tokenizer, 440, ["<unk>", "<s>", "</s>"])
    tokenizer.add_special_tokens([AddedToken(text, rstrip=True, normalized=False) for text in ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")])
    return tokenizer, dict(bos_token="<s>", eos_token="<|end|>", unk_token="<unk>", pad_token="<|endoftext|>"), PHI3


def mistral():
    """SentencePiece as Mistral converts it: a space in front of the first piece only."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer = bytes_in_vocabulary(tokenizer, 440, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair=None, special_tokens=[("<s>", 1)])
    return tokenizer, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"), MISTRAL


def tekken():
    """Mistral's later kind: byte level, words split where small letters end and capitals begin."""
    pattern = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = byte_level(340, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], split, ignore_merges=True)
    return tokenizer, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"), MISTRAL


def gpt2():
    tokenizer = byte_level(340, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, dict(bos_token="<|endoftext|>", eos_token="<|im_end|>", unk_token="<|endoftext|>"), CHATML


def outcome(tokenizer, chat, marking):
    """@param marking the template with generation marks, from which transformers tells the assistant's tokens"""
    question = chat[:-1] if chat[-1]["role"] == "assistant" else chat
    prompt = tokenizer.apply_chat_template(question, tokenize=True, add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, chat_template=marking)
    assert whole["input_ids"] == tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    return dict(messages=chat, prompt=list(prompt), ids=list(whole["input_ids"]), spoken=[mask == 1 for mask in whole["assistant_masks"]])


def without_marks(template):
    return re.sub(r"[ \t]*\{%-?\s*(end)?generation\s*-?%\}\n?", "", template)


def write(folder, marking):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        texts.append(dict(text=text, ids=ids, decoded=tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)))
    chats = [outcome(tokenizer, chat, marking) for chat in CHATS if "System role not supported" not in marking or chat[0]["role"] != "system"]
    golden = dict(eos=tokenizer.eos_token_id, length=max(tokenizer.get_vocab().values()) + 1)
    lines = lambda entries: "[\n " + ",\n ".join(json.dumps(entry) for entry in entries) + "\n]"
    (folder / "golden.json").write_text("{\n" + f'"eos": {golden["eos"]}, "vocabularySize": {golden["length"]},\n"marking": {json.dumps(marking)},\n"texts": {lines(texts)},\n"chats": {lines(chats)}\n' + "}\n")
    print(folder.name, golden, sum(len(t["ids"]) for t in texts))


TEMPLATES = {
    "nothing given": "{% if tools is none %}no tools{% endif %}{% if tools is defined %}, defined{% endif %}{% if documents is none %}, no documents{% endif %}{% if custom is defined %}custom{% endif %}{% if not tools %}!{% endif %}",
    "blocks on lines of their own": "{% for message in messages %}\n    {% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n    {% else %}\n  {{- '<|assistant|>\\n'  + message['content'] + eos_token }}\n    {% endif %}\n    {# a comment #}\n{% endfor %}\n{% if add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] | trim + '\\n\\n' %}{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for message in rest %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
    "mistral": "{%- if messages[0].role == 'system' %}\n    {%- set system_message = messages[0].content %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n{%- set user_messages = loop_messages | selectattr('role', 'equalto', 'user') | list %}\n{{- bos_token }}\n{%- for message in loop_messages %}\n    {%- if message.role == 'user' %}\n        {%- if tools is not none and message == user_messages[-1] %}\n            {{- '[AVAILABLE_TOOLS]' }}\n        {%- endif %}\n        {%- if loop.last and system_message is defined %}\n            {{- '[INST] ' + system_message + '\\n\\n' + message.content + '[/INST]' }}\n        {%- else %}\n            {{- '[INST] ' + message.content + '[/INST]' }}\n        {%- endif %}\n    {%- else %}\n        {{- ' ' + message.content + eos_token }}\n    {%- endif %}\n{%- endfor %}\n",
    "qwen": "{%- if tools %}\n    {{- '<|im_start|>system\\n# Tools\\n' }}\n    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}\n{%- else %}\n    {%- if messages[0]['role'] == 'system' %}\n        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n    {%- else %}\n        {{- '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}\n    {%- endif %}\n{%- endif %}\n{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n        {%- set ns.multi_step_tool = false %}\n        {%- set ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first) or (message.role == 'assistant' and not message.tool_calls) %}\n        {%- set content = message.content %}\n        {%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}\n        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
    "filters and tests": "{{ messages | length }} {{ messages[0].content | upper | lower }} {{ messages | map(attribute='role') | join(', ') }} {{ {'a': [1, 2.5, none, true], 'é': '<b>'} | tojson }} {{ 'x' if messages[0].name is defined else 'y' }} {{ messages[-1]['content'] | replace('a', 'o') | trim }} {{ [1, 2, 3][1:] }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 'a' ~ 1 }} {{ 'm' if messages[0].content is string and messages[0] is mapping }} {{ '%s' | default('z') }} {{ missing | default('dflt') }} {{ pad_token }}|{{ unk_token }}|",
}


def templates(folder):
    """Rendered with the tokenizer of one case, whose special tokens the templates see."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    entries = []
    for name, template in TEMPLATES.items():
        for chat in CHATS[:3]:
            for generate in (False, True):
                entries.append(dict(name=name, template=template, messages=chat, generate=generate, text=tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, add_generation_prompt=generate)))
    text = json.dumps(dict(tokenizer=folder.name, templates=TEMPLATES, rendered=[{key: entry[key] for key in ("name", "messages", "generate", "text")} for entry in entries]), indent=1)
    (OUT / "templates.json").write_text(text + "\n")


if __name__ == "__main__":
    bundled = OUT / "bundled"
    shutil.rmtree(bundled, ignore_errors=True)
    bundled.mkdir(parents=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED / file, bundled / file)
    write(bundled, CHATML)
    for make in (smollm2, qwen, llama3, llama2, gemma, phi3, mistral, tekken, gpt2):
        tokenizer, specials, template = make()
        folder = OUT / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials)
        fast.chat_template = without_marks(template)
        fast.save_pretrained(folder)
        write(folder, template)
    templates(OUT / "llama2")
