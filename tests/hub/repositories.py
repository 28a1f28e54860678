"""Tiny repositories, as file name → bytes, and their layouts on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, bytes]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "89abcdef0123456789abcdef0123456789abcdef"


def text(document: object) -> bytes:
    return json.dumps(document).encode()


def safetensors(floats: int = 4, name: str = "weight") -> bytes:
    """A complete safetensors file with one tensor of this many float32 zeros."""
    entry = {"dtype": "F32", "shape": [floats], "data_offsets": [0, 4 * floats]}
    header = text({name: entry, "__metadata__": {"format": "pt"}})
    return len(header).to_bytes(8, "little") + header + bytes(4 * floats)


TOKENIZER: Files = {
    "tokenizer.json": text({"version": "1.0"}),
    "tokenizer_config.json": text({"chat_template": "{{ messages }}"}),
}
MODEL: Files = {
    "config.json": text({"model_type": "llama"}),
    "model.safetensors": safetensors(),
    **TOKENIZER,
}
ADAPTER: Files = {
    "adapter_config.json": text({"r": 8, "peft_type": "LORA"}),
    "adapter_model.safetensors": safetensors(),
}


def sharded(shards: int = 3) -> dict[str, bytes]:
    """MODEL with its weights in several files, no two alike, and an index over them."""
    names = [f"model-{i:05d}-of-{shards:05d}.safetensors" for i in range(1, shards + 1)]
    index = text({"metadata": {}, "weight_map": {f"w{i}": name for i, name in enumerate(names)}})
    files = {name: content for name, content in MODEL.items() if name != "model.safetensors"}
    return (
        files
        | {"model.safetensors.index.json": index}
        | {name: safetensors(name=f"w{i}") for i, name in enumerate(names)}
    )


def lay(directory: Path, files: Files) -> Path:
    """Write the files into a plain directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def lay_cached(cache: Path, repo_id: str, files: Files, commit: str = COMMIT, ref: str | None = "main") -> Path:
    """Write the files as huggingface_hub's cache does, links to blobs included; returns the snapshot."""
    repository = cache / ("models--" + repo_id.replace("/", "--"))
    snapshot = repository / "snapshots" / commit
    for name, content in files.items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    if ref:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    return snapshot
