"""Which files of a repository are fetched: one weight format, and everything small that the engine may read."""

from __future__ import annotations

import pytest

from worker_vllm.models.file_selection import choose, index_of
from worker_vllm.models.references import Role

SMALL = ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "modeling_x.py", "LICENSE")
LEFT = ("README.md", ".gitattributes", "q4.gguf", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "logo.png")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"

WEIGHTS = {
    "safetensors before bin": (("model.safetensors", "pytorch_model.bin"), "auto", ("model.safetensors",)),
    "bin where there is nothing else": (("pytorch_model.bin", "training_args.bin"), "auto", ("pytorch_model.bin",)),
    "pt last": (("model.pt",), "auto", ("model.pt",)),
    "consolidated as vLLM prefers": (
        ("consolidated.safetensors", *SHARDS),
        "auto",
        ("consolidated.safetensors",),
    ),
    "consolidated left out by LOAD_FORMAT": (("consolidated.safetensors", *SHARDS), "safetensors", SHARDS),
    "only consolidated, whatever LOAD_FORMAT": (
        ("consolidated.safetensors",),
        "runai_streamer",
        ("consolidated.safetensors",),
    ),
    "pt by LOAD_FORMAT": (("model.safetensors", "model.pt"), "pt", ("model.pt",)),
    "no weights for dummy": (("model.safetensors", "pytorch_model.bin"), "dummy", ()),
    "each directory for itself": (
        ("model.safetensors", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "original/c.00.pth"),
        "auto",
        ("2_Dense/model.safetensors", "model.safetensors"),
    ),
}


@pytest.mark.parametrize(("names", "load_format", "expected"), WEIGHTS.values(), ids=WEIGHTS)
def test_one_weight_format_is_chosen(names: tuple[str, ...], load_format: str, expected: tuple[str, ...]) -> None:
    """The format that the engine loads; small files are included, other formats and pictures are not."""
    chosen = choose((*names, *SMALL, *LEFT), Role.MODEL, load_format)
    assert chosen == tuple(sorted((*expected, *SMALL)))


def test_the_index_decides_between_variants() -> None:
    """A weight file that the index does not list is not fetched."""
    names = (*SHARDS, "model.fp16.safetensors", INDEX)
    assert index_of(names) == INDEX
    assert choose(names, Role.MODEL, "auto", set(SHARDS)) == tuple(sorted((*SHARDS, INDEX)))


def test_an_index_over_another_format_is_not_asked() -> None:
    """The index of .bin shards does not apply to safetensors."""
    assert index_of(("model.safetensors", "pytorch_model.bin.index.json")) is None
    assert index_of(("consolidated.safetensors", *SHARDS, INDEX), "auto") is None
    assert index_of(("consolidated.safetensors", *SHARDS, INDEX), "safetensors") == INDEX


def test_a_tokenizer_repository_gives_its_tokenizer_alone() -> None:
    """No weights for TOKENIZER=org/name."""
    names = ("model.safetensors", "tokenizer.json", "vocab.json", "merges.txt", "config.json", "README.md")
    assert choose(names, Role.TOKENIZER) == ("config.json", "merges.txt", "tokenizer.json", "vocab.json")


def test_an_adapter_gives_its_configuration_and_one_weight_file() -> None:
    """Neither the tokenizer that trainers leave beside it nor the optimizer."""
    names = (
        "adapter_config.json",
        "adapter_model.safetensors",
        "adapter_model.bin",
        "tokenizer.json",
        "optimizer.pt",
    )
    assert choose(names, Role.ADAPTER) == ("adapter_config.json", "adapter_model.safetensors")
