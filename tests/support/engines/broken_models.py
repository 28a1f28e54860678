"""Copies of the embedded model with one thing wrong each; every function breaks the copy it is given."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.paths import PARROT

SERVED = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)

Break = Callable[[Path], None]


def copy_of_parrot(directory: Path, break_it: Break) -> Path:
    """A whole copy of the embedded model under `directory`, then broken."""
    model = directory / "model"
    model.mkdir(parents=True)
    for name in SERVED:
        if (PARROT / name).exists():
            shutil.copy(PARROT / name, model / name)
    break_it(model)
    return model


def edit(name: str, **changes: Any) -> Break:
    """Change keys of a JSON file; None removes a key."""

    def apply(model: Path) -> None:
        content = json.loads((model / name).read_text())
        content.update(changes)
        (model / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return apply


def remove(*names: str) -> Break:
    """Files that never arrived."""

    def apply(model: Path) -> None:
        for name in names:
            (model / name).unlink(missing_ok=True)

    return apply


def whole(model: Path) -> None:
    """Nothing wrong with the model."""


def cut_config(model: Path) -> None:
    """A configuration whose end is missing."""
    (model / "config.json").write_text((model / "config.json").read_text()[:200])


def cut_tokenizer(model: Path) -> None:
    """A tokenizer whose end is missing."""
    (model / "tokenizer.json").write_text((model / "tokenizer.json").read_text()[:200])


def cut_weights(model: Path) -> None:
    """A download that broke off."""
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])


def empty_weights(model: Path) -> None:
    """A download that broke off at once."""
    (model / "model.safetensors").write_bytes(b"")


def missing_shard(model: Path) -> None:
    """An index that names a second shard which is not there."""
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    with (model / "model-00001-of-00002.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        names = [name for name in json.loads(file.read(length)) if name != "__metadata__"]
    weight_map = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def adapter(rank: int) -> Break:
    """A LoRA adapter beside the model, of the given rank, all zeros."""

    def apply(model: Path) -> None:
        hidden = json.loads((model / "config.json").read_text())["hidden_size"]
        write_adapter(model.parent / "adapter", rank, hidden)

    return apply


def adapter_of_another_base(model: Path) -> None:
    """A LoRA adapter beside the model, for a model twice as wide."""
    write_adapter(model.parent / "adapter", 8, 2 * json.loads((model / "config.json").read_text())["hidden_size"])


def write_adapter(directory: Path, rank: int, hidden: int) -> None:
    """The files of a LoRA adapter on the first layer's output projection."""
    directory.mkdir()
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["o_proj"], "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps(settings))
    prefix = "base_model.model.model.layers.0.self_attn.o_proj.lora_"
    header, size = {}, 0
    for part, shape in (("A", [rank, hidden]), ("B", [hidden, rank])):
        end = size + rank * hidden * 4
        header[f"{prefix}{part}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [size, end]}
        size = end
    text = json.dumps(header).encode()
    (directory / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
