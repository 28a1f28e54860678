"""The byte-level tokenizer, its chat template and the model's configuration files.

Token ids 0-255 are the bytes; 256-271 are the special tokens below, in that order.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

SPECIALS: tuple[str, ...] = (
    "<|bos|>",
    "<|pad|>",
    "<|end|>",
    "<|system|>",
    "<|tool|>",
    "<|past_user|>",
    "<|past_assistant|>",
    "<|user|>",
    "<|message|>",
    "<|assistant|>",
    "<|answer|>",
    "<|prompt|>",
    "<|text|>",
    "<|completion|>",
    "<|go|>",
    "<|reserved|>",
)
IDS: dict[str, int] = {token: 256 + index for index, token in enumerate(SPECIALS)}
BOS, PAD, END = IDS["<|bos|>"], IDS["<|pad|>"], IDS["<|end|>"]
VOCAB_SIZE = 256 + len(SPECIALS)

# What a plain completion's prompt is wrapped in by the tokenizer's post-processor.
PLAIN_PREFIX = ("<|bos|>", "<|prompt|>", "<|text|>")
PLAIN_SUFFIX = ("<|end|>", "<|completion|>", "<|go|>")

# The message to repeat gets markers of its own, so that every index is measured from a token that
# occurs once. A final assistant message without a generation prompt is a prefix to be continued.
CHAT_TEMPLATE = """\
{%- macro text(content) -%}
{%- if content is string -%}{{ content }}
{%- elif content -%}
{%- for part in content -%}
{%- if part is string -%}{{ part }}{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set last = namespace(user=messages | length - 1) -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{{- '<|bos|>' -}}
{%- for message in messages -%}
{%- if loop.index0 == last.user -%}{{- '<|user|><|message|>' -}}
{%- elif message.role == 'user' -%}{{- '<|past_user|>' -}}
{%- elif message.role == 'assistant' and loop.last and not add_generation_prompt -%}
{{- '<|assistant|><|answer|>' -}}
{%- elif message.role == 'assistant' -%}{{- '<|past_assistant|>' -}}
{%- elif message.role == 'tool' -%}{{- '<|tool|>' -}}
{%- else -%}{{- '<|system|>' -}}
{%- endif -%}
{{- text(message.content) -}}{{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|><|answer|>' -}}{%- endif -%}
"""

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP = 256, 2, 16, 8, 32, 512
ROPE_THETA = 1_000_000.0
NORM_EPS = 1e-5


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in a ByteLevel vocabulary, by byte value."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in plain}
    for offset, byte in enumerate(b for b in range(256) if b not in table):
        table[byte] = chr(256 + offset)
    return [table[byte] for byte in range(256)]


def build_tokenizer() -> Tokenizer:
    """A tokenizer with one token per UTF-8 byte; special tokens are recognised inside the text."""
    vocab = {character: byte for byte, character in enumerate(byte_characters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIALS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join((*PLAIN_PREFIX, "$A", *PLAIN_SUFFIX)),
        special_tokens=[(s, IDS[s]) for s in (*PLAIN_PREFIX, *PLAIN_SUFFIX)],
    )
    return tokenizer


def model_config() -> dict[str, object]:
    """The content of config.json, for `LlamaForCausalLM`."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": True,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "dtype": "bfloat16",
        "eos_token_id": END,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": MLP,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "pad_token_id": PAD,
        "rms_norm_eps": NORM_EPS,
        "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"},
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": VOCAB_SIZE,
    }


def tokenizer_config() -> dict[str, object]:
    """The content of tokenizer_config.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": CHAT_TEMPLATE,
    }


def write_files(folder: Path) -> None:
    """Write the tokenizer and configuration files into `folder`, replacing those there."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer().save(str(folder / "tokenizer.json"))
    generation = {"bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD}
    for name, content in (
        ("config.json", model_config()),
        ("tokenizer_config.json", tokenizer_config()),
        ("generation_config.json", generation),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_files(Path(__file__).parent)
