"""Check that a model's directory is complete, file by file, without loading any weights.

An interrupted download leaves a file absent or truncated, or a shard missing. Each case is detected from the file
names, the weight index and the safetensors header (8 bytes of length, then JSON whose last offset gives the file's
size).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<total>\d+)(?P<suffix>\.\w+)")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_TOKENIZER_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SMALL_JSON_BYTES = 1 << 20  # parsing this much JSON takes a few milliseconds
_MAX_HEADER = 100_000_000  # the safetensors format's own limit, in bytes


@dataclass(frozen=True, slots=True)
class RequiredFiles:
    """Which files must be present for one use of a model."""

    weights: bool = True  # False with LOAD_FORMAT=dummy
    tokenizer: bool = True  # False when it comes from another repository
    code: bool = False  # TRUST_REMOTE_CODE: the *.py files that the configuration names


FULL_MODEL = RequiredFiles()


def gaps(directory: Path, required: RequiredFiles = FULL_MODEL) -> tuple[str, ...]:
    """One clause for each file that is missing or truncated; empty when the model can be served."""
    found = _configuration_gaps(directory)
    if required.weights:
        found += _weight_gaps(directory)
    if required.tokenizer and not has_tokenizer(directory):
        found.append("no tokenizer (tokenizer.json, tokenizer.model, vocab.json, *.tiktoken …)")
    if required.tokenizer:
        found += [f"{name} is not valid JSON" for name in _TOKENIZER_JSON if not _is_valid_json(directory / name)]
    if required.code:
        found += [f"{name} is missing (named by auto_map)" for name in _absent(directory, code_files(directory))]
    return tuple(found)


def adapter_gaps(directory: Path) -> tuple[str, ...]:
    """One clause for each missing or truncated file of a LoRA adapter; empty when it is complete."""
    found = [] if _read_json(directory / "adapter_config.json") else ["adapter_config.json is missing or not JSON"]
    names = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
    weights = [directory / name for name in names if (directory / name).is_file()]
    if not weights:
        found.append("no adapter weights (adapter_model.safetensors)")
    return tuple(found + [gap for path in weights if (gap := _truncation(path))])


def has_tokenizer(directory: Path) -> bool:
    """Whether the directory contains a file of a known tokenizer."""
    if any((directory / name).is_file() for name in _TOKENIZERS):
        return True
    return any(name.endswith(".tiktoken") or name.startswith("tokenizer.model") for name in _names(directory))


def has_chat_template(directory: Path) -> bool:
    """Whether the directory contains a chat template: a file of its own, or a key of tokenizer_config.json."""
    if any((directory / name).is_file() for name in ("chat_template.jinja", "chat_template.json", "tekken.json")):
        return True
    configuration = _read_json(directory / "tokenizer_config.json")
    return bool(configuration and configuration.get("chat_template"))


def code_files(directory: Path) -> list[str]:
    """The Python files in this repository that its configurations name (`auto_map: {"AutoModel": "file.Class"}`)."""
    return sorted({f"{_module(target)}.py" for target in _auto_map(directory) if "--" not in target})


def foreign_code(directory: Path) -> list[str]:
    """Other repositories whose code the configurations name (`org/name--module.Class`)."""
    return sorted({target.split("--")[0] for target in _auto_map(directory) if "--" in target})


def _configuration_gaps(directory: Path) -> list[str]:
    for name in ("config.json", "params.json"):
        if (directory / name).is_file():
            return [] if _read_json(directory / name) is not None else [f"{name} is not a JSON object"]
    return ["config.json is missing"]


def _weight_gaps(directory: Path) -> list[str]:
    """Empty when one weight format is complete; otherwise the gaps of the first format found."""
    first: list[str] | None = None
    for files, missing in _formats(directory):
        found = [f"{name} is missing" for name in missing]
        found += [gap for name in files if (gap := _truncation(directory / name))]
        if not found:
            return []
        first = first if first is not None else found
    if first is not None:
        return first
    if any(name.endswith(".gguf") for name in _names(directory)):
        return ["only GGUF weights, which vLLM no longer reads"]
    return ["no weights (*.safetensors, *.bin, *.pt)"]


def _formats(directory: Path) -> Iterable[tuple[list[str], list[str]]]:
    """Each weight format in the directory: its files that exist, and its files that are missing."""
    names = _names(directory)
    indexes = [name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))]
    for index in indexes:
        listed = (_read_json(directory / index) or {}).get("weight_map")
        shards = sorted(set(listed.values())) if isinstance(listed, dict) else []
        missing = _absent(directory, shards) if shards else [f"{index} lists no shard: a complete index"]
        yield [shard for shard in shards if shard not in missing], missing
    for suffix in WEIGHT_SUFFIXES:
        indexed = any(index.endswith(f"{suffix}.index.json") for index in indexes)
        files = [name for name in names if name.endswith(suffix) and not _is_no_model_weight(name)]
        for group in _groups(files):
            if not (indexed and _SHARD.fullmatch(group[0])):
                yield group, sorted(_siblings(group) - set(group))


def _is_no_model_weight(name: str) -> bool:
    """Whether a file with a weight suffix is a training leftover or an adapter."""
    return name.startswith(("training_args", "optimizer", "scheduler", "rng_state", "adapter_model"))


def _groups(files: list[str]) -> list[list[str]]:
    """The files grouped by checkpoint: shards with the same stem, and all unsharded files."""
    groups: dict[str, list[str]] = {}
    for name in files:
        shard = _SHARD.fullmatch(name)
        groups.setdefault(shard["stem"] if shard else "", []).append(name)
    return list(groups.values())


def _siblings(group: list[str]) -> set[str]:
    """The names of all shards of the checkpoint that the group belongs to; empty for unsharded files."""
    shard = _SHARD.fullmatch(group[0])
    if shard is None:
        return set()
    width, total = len(shard["number"]), shard["total"]
    return {f"{shard['stem']}-{i:0{width}d}-of-{total}{shard['suffix']}" for i in range(1, int(total) + 1)}


def _truncation(path: Path) -> str | None:
    """Why this weight file is incomplete, by its size and its safetensors header; None when it seems complete."""
    size = path.stat().st_size
    if size == 0:
        return f"{path.name} is empty"
    if path.suffix != ".safetensors":
        return None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= _MAX_HEADER else b""
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return f"{path.name} has no complete safetensors header"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"{path.name} has {size} bytes, its header expects {expected}"


def _is_valid_json(path: Path) -> bool:
    """Whether a JSON file is absent or valid. A small file is parsed; of a large one only both ends are checked."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= _SMALL_JSON_BYTES:
                json.loads(file.read())
                return True
            first = file.read(64).lstrip()[:1]
            file.seek(-64, 2)
            return (first, file.read().rstrip()[-1:]) in ((b"{", b"}"), (b"[", b"]"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def _auto_map(directory: Path) -> list[str]:
    targets: list[str] = []
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        mapped = (_read_json(directory / name) or {}).get("auto_map")
        if isinstance(mapped, dict):
            for target in mapped.values():
                several = target if isinstance(target, list) else [target]
                targets += [each for each in several if isinstance(each, str)]
    return targets


def _module(target: str) -> str:
    return target.rsplit(".", 1)[0].replace(".", "/")


def _absent(directory: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (directory / name).is_file()]


def _names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir() if entry.is_file())
    except OSError:
        return []


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
