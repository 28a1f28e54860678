"""The check of a model's directory reports each missing or truncated file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub.repositories import ADAPTER, MODEL, Files, lay, safetensors, sharded, text
from worker_vllm.models.completeness import RequiredFiles, adapter_gaps, gaps, has_chat_template

SHARDED = sharded()
SHARD = "model-00002-of-00003.safetensors"


def less(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if name not in names}


COMPLETE = {
    "one file": MODEL,
    "shards and index": SHARDED,
    "shards without their index": less(SHARDED, "model.safetensors.index.json"),
    "bin weights": {**less(MODEL, "model.safetensors"), "pytorch_model.bin": b"x"},
    "a complete format beside a truncated one": {
        **MODEL,
        "pytorch_model.bin.index.json": text({"weight_map": {"w": "a.bin"}}),
    },
    "mistral's own names": {
        "params.json": b"{}",
        "consolidated.safetensors": safetensors(),
        "tekken.json": b"{}",
    },
    "a large tokenizer": {**MODEL, "tokenizer.json": b'{"a": "' + b"x" * (1 << 20) + b'"}\n'},
    "a tiktoken vocabulary": {**less(MODEL, "tokenizer.json"), "qwen.tiktoken": b"x"},
}
INCOMPLETE = {
    "no config": (less(MODEL, "config.json"), ("config.json is missing",)),
    "bad config": ({**MODEL, "config.json": b"[1"}, ("config.json is not a JSON object",)),
    "no weights": (less(MODEL, "model.safetensors"), ("no weights (*.safetensors, *.bin, *.pt)",)),
    "only gguf": (
        {**less(MODEL, "model.safetensors"), "q4.gguf": b"x"},
        ("only GGUF weights, which vLLM no longer reads",),
    ),
    "only an adapter's weights": (
        {**less(MODEL, "model.safetensors"), "adapter_model.safetensors": safetensors()},
        ("no weights (*.safetensors, *.bin, *.pt)",),
    ),
    "a shard too few": (less(SHARDED, SHARD), (f"{SHARD} is missing",)),
    "a shard too few, no index": (
        less(SHARDED, SHARD, "model.safetensors.index.json"),
        (f"{SHARD} is missing",),
    ),
    "a cut shard": (
        {**SHARDED, SHARD: safetensors()[:-4]},
        (f"{SHARD} has {len(safetensors()) - 4} bytes, its header expects {len(safetensors())}",),
    ),
    "a cut header": (
        {**MODEL, "model.safetensors": safetensors()[:20]},
        ("model.safetensors has no complete safetensors header",),
    ),
    "an empty file": ({**MODEL, "model.safetensors": b""}, ("model.safetensors is empty",)),
    "an empty index": (
        {**MODEL, "model.safetensors.index.json": b"{}", "model.safetensors": b""},
        ("model.safetensors.index.json lists no shard: a complete index is missing",),
    ),
    "no tokenizer": (
        less(MODEL, "tokenizer.json"),
        ("no tokenizer (tokenizer.json, tokenizer.model, vocab.json, *.tiktoken …)",),
    ),
    "a cut tokenizer": ({**MODEL, "tokenizer.json": b'{"a": '}, ("tokenizer.json is not valid JSON",)),
    "a cut tokenizer, too large to be read": (
        {**MODEL, "tokenizer.json": b'{"a": "' + b"x" * (1 << 20)},
        ("tokenizer.json is not valid JSON",),
    ),
    "an empty tokenizer configuration": (
        {**MODEL, "tokenizer_config.json": b""},
        ("tokenizer_config.json is not valid JSON",),
    ),
    "several": (
        {},
        (
            "config.json is missing",
            "no weights (*.safetensors, *.bin, *.pt)",
            "no tokenizer (tokenizer.json, tokenizer.model, vocab.json, *.tiktoken …)",
        ),
    ),
}


@pytest.mark.parametrize("files", COMPLETE.values(), ids=COMPLETE)
def test_a_whole_model_has_no_gaps(tmp_path: Path, files: Files) -> None:
    """Every layout that the engine reads."""
    assert gaps(lay(tmp_path, files)) == ()


@pytest.mark.parametrize(("files", "expected"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_each_missing_file_is_reported(tmp_path: Path, files: Files, expected: tuple[str, ...]) -> None:
    """By name, and with sizes where a file was cut."""
    assert gaps(lay(tmp_path, files)) == expected


def test_code_counts_only_when_it_may_run(tmp_path: Path) -> None:
    """auto_map's modules are needed with TRUST_REMOTE_CODE, those of other repositories never here."""
    auto_map = {
        "AutoModel": "modeling_x.Model",
        "AutoTokenizer": ["tok.Slow", None],
        "AutoConfig": "org/other--c.Config",
    }
    lay(tmp_path, {**MODEL, "config.json": text({"auto_map": auto_map}), "tok.py": b""})
    assert gaps(tmp_path) == ()
    assert gaps(tmp_path, RequiredFiles(code=True)) == ("modeling_x.py is missing (named by auto_map)",)


def test_dummy_weights_and_a_tokenizer_from_elsewhere_are_not_missed(tmp_path: Path) -> None:
    """LOAD_FORMAT=dummy needs the configuration alone."""
    lay(tmp_path, {"config.json": b"{}"})
    assert gaps(tmp_path, RequiredFiles(weights=False, tokenizer=False)) == ()


def test_an_adapter_needs_its_configuration_and_its_weights(tmp_path: Path) -> None:
    """Complete, or with each missing file reported."""
    assert adapter_gaps(lay(tmp_path / "whole", ADAPTER)) == ()
    assert adapter_gaps(lay(tmp_path / "none", {})) == (
        "adapter_config.json is missing or not JSON",
        "no adapter weights (adapter_model.safetensors)",
    )


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        ({"tokenizer_config.json": text({"chat_template": "x"})}, True),
        ({"chat_template.jinja": b"x"}, True),
        ({"tokenizer_config.json": text({})}, False),
        ({}, False),
    ],
)
def test_where_a_chat_template_may_be(tmp_path: Path, files: Files, answer: bool) -> None:
    """In a file of its own or inside the tokenizer's configuration."""
    assert has_chat_template(lay(tmp_path, files)) is answer
