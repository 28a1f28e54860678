"""The published files of the parrot model agree with one another; nothing here needs torch."""

from __future__ import annotations

import json
import struct
from typing import Any

import jinja2
import pytest

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from tests.support.paths import PARROT

TEXTS = (
    "a",
    " two  spaces\n\n",
    "é€🦜👩‍💻",
    "\x00\x7f\t\r\n",
    "def f(x):\n\treturn {'a': 1}\n",
    "  ",
    "日本語 مرحبا",
)


def read_json(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((PARROT / name).read_text(encoding="utf-8"))
    return content


def tensor_shapes() -> dict[str, tuple[str, list[int]]]:
    with (PARROT / "model.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    return {name: (entry["dtype"], entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def render(messages: list[dict[str, Any]], add_generation_prompt: bool = True) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(read_json("tokenizer_config.json")["chat_template"])
    return template.render(messages=messages, add_generation_prompt=add_generation_prompt)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(PARROT / "tokenizer.json"))


def test_every_utf8_byte_of_a_text_is_the_token_with_that_number(tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        assert tokenizer.encode(text, add_special_tokens=False).ids == list(text.encode())


def test_every_token_number_decodes_and_texts_survive_a_round_trip(tokenizer: Tokenizer) -> None:
    assert sorted(tokenizer.get_vocab().values()) == list(range(read_json("config.json")["vocab_size"]))
    for text in TEXTS:
        assert tokenizer.decode(list(text.encode())) == text


def test_a_character_split_over_tokens_is_held_back_until_it_is_whole(tokenizer: Tokenizer) -> None:
    stream = DecodeStream(skip_special_tokens=True)
    pieces = [stream.step(tokenizer, token) for token in "é🦜x".encode()]
    assert pieces == [None, "é", None, None, None, "🦜", "x"]


def test_a_plain_prompt_is_wrapped_once_and_a_rendered_chat_is_left_alone(tokenizer: Tokenizer) -> None:
    plain = tokenizer.encode("hi").tokens
    assert plain == ["<|bos|>", "<|prompt|>", "<|text|>", "h", "i", "<|end|>", "<|completion|>", "<|go|>"]
    chat = tokenizer.encode(render([{"role": "user", "content": "hi"}]), add_special_tokens=False)
    assert chat.tokens == ["<|bos|>", "<|user|>", "<|message|>", "h", "i", "<|end|>", "<|assistant|>", "<|answer|>"]


def test_only_the_last_user_message_gets_the_markers_of_the_message_to_repeat() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": " two"}, {"type": "text", "text": "\n"}]},
        {"role": "tool", "content": "42"},
    ]
    assert render(messages) == (
        "<|bos|><|system|>Be kind.<|end|><|past_user|>one<|end|><|past_assistant|><|end|>"
        "<|user|><|message|> two\n<|end|><|tool|>42<|end|><|assistant|><|answer|>"
    )


def test_a_final_assistant_message_without_generation_prompt_is_the_start_of_the_answer() -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "he"}]
    assert render(messages, False) == "<|bos|><|user|><|message|>hello<|end|><|assistant|><|answer|>he<|end|>"


def test_without_a_user_message_the_last_message_is_the_one_to_repeat() -> None:
    assert render([{"role": "system", "content": "s"}]) == (
        "<|bos|><|user|><|message|>s<|end|><|assistant|><|answer|>"
    )


def test_special_token_numbers_agree_between_the_files(tokenizer: Tokenizer) -> None:
    config, generation, names = (
        read_json(name) for name in ("config.json", "generation_config.json", "tokenizer_config.json")
    )
    for kind in ("bos", "eos", "pad"):
        number = tokenizer.token_to_id(names[f"{kind}_token"])
        assert config[f"{kind}_token_id"] == generation[f"{kind}_token_id"] == number


def test_the_weights_have_the_shapes_that_the_configuration_names() -> None:
    config, tensors = read_json("config.json"), tensor_shapes()
    hidden, head = config["hidden_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    assert {dtype for dtype, _ in tensors.values()} == {"BF16"}
    assert tensors["model.embed_tokens.weight"][1] == [config["vocab_size"], hidden]
    assert tensors["lm_head.weight"][1] == [config["vocab_size"], hidden]
    for layer in range(config["num_hidden_layers"]):
        attention = f"model.layers.{layer}.self_attn"
        assert tensors[f"{attention}.q_proj.weight"][1] == [query, hidden]
        assert tensors[f"{attention}.k_proj.bias"][1] == [key]
        assert tensors[f"{attention}.o_proj.weight"][1] == [hidden, query]
        assert tensors[f"model.layers.{layer}.mlp.down_proj.weight"][1] == [hidden, config["intermediate_size"]]


def test_the_model_splits_in_two_by_heads_and_by_layers_and_admits_long_contexts() -> None:
    config = read_json("config.json")
    for name in ("num_attention_heads", "num_key_value_heads", "num_hidden_layers", "intermediate_size"):
        assert config[name] % 2 == 0
    assert config["max_position_embeddings"] == 131072


def test_the_weights_are_small_enough_to_live_in_the_repository() -> None:
    assert (PARROT / "model.safetensors").stat().st_size < 8_000_000
