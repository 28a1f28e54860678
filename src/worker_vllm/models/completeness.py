"""Is a model's directory complete? What is missing, told file by file, without loading anything.

A download that was cut leaves no file, a short file or a shard too few; each is found from the names, the weight
index and the safetensors header (8 bytes of length, then JSON whose last offset gives the file's size).
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
_SOON_READ = 1 << 20  # bytes of JSON that cost a start no more than a few milliseconds
_MAX_HEADER = 100_000_000  # the safetensors format's own limit, in bytes


@dataclass(frozen=True, slots=True)
class Need:
    """What has to be there for this use of a model."""

    weights: bool = True  # not with LOAD_FORMAT=dummy
    tokenizer: bool = True  # not when it comes from elsewhere
    code: bool = False  # TRUST_REMOTE_CODE: the *.py files that the configuration names


WHOLE_MODEL = Need()


def gaps(directory: Path, need: Need = WHOLE_MODEL) -> tuple[str, ...]:
    """One clause for each thing that is missing or cut short; empty when the model can be served from here."""
    found = _configuration_gaps(directory)
    if need.weights:
        found += _weight_gaps(directory)
    if need.tokenizer and not has_tokenizer(directory):
        found.append("no tokenizer (tokenizer.json, tokenizer.model, vocab.json, *.tiktoken …)")
    if need.tokenizer:
        found += [f"{name} is not valid JSON" for name in _TOKENIZER_JSON if not _whole_json(directory / name)]
    if need.code:
        found += [f"{name} is missing (named by auto_map)" for name in _absent(directory, code_files(directory))]
    return tuple(found)


def adapter_gaps(directory: Path) -> tuple[str, ...]:
    """The same for a LoRA adapter: its configuration and its weights."""
    found = [] if _read_json(directory / "adapter_config.json") else ["adapter_config.json is missing or not JSON"]
    names = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
    weights = [directory / name for name in names if (directory / name).is_file()]
    if not weights:
        found.append("no adapter weights (adapter_model.safetensors)")
    return tuple(found + [gap for path in weights if (gap := _cut(path))])


def has_tokenizer(directory: Path) -> bool:
    """Whether any file of a known tokenizer is there."""
    if any((directory / name).is_file() for name in _TOKENIZERS):
        return True
    return any(name.endswith(".tiktoken") or name.startswith("tokenizer.model") for name in _names(directory))


def has_chat_template(directory: Path) -> bool:
    """Whether chat requests can be laid out: a template file, or one inside the tokenizer's configuration."""
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
    """Complete when one weight format is: the gaps of the format that comes first otherwise."""
    first: list[str] | None = None
    for files, missing in _formats(directory):
        found = [f"{name} is missing" for name in missing]
        found += [gap for name in files if (gap := _cut(directory / name))]
        if not found:
            return []
        first = first if first is not None else found
    if first is not None:
        return first
    if any(name.endswith(".gguf") for name in _names(directory)):
        return ["only GGUF weights, which vLLM no longer reads"]
    return ["no weights (*.safetensors, *.bin, *.pt)"]


def _formats(directory: Path) -> Iterable[tuple[list[str], list[str]]]:
    """Each weight format that is there: the files it has, and the names it lacks."""
    names = _names(directory)
    indexes = [name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))]
    for index in indexes:
        listed = (_read_json(directory / index) or {}).get("weight_map")
        shards = sorted(set(listed.values())) if isinstance(listed, dict) else []
        missing = _absent(directory, shards) if shards else [f"{index} lists no shard: a whole index"]
        yield [shard for shard in shards if shard not in missing], missing
    for suffix in WEIGHT_SUFFIXES:
        indexed = any(index.endswith(f"{suffix}.index.json") for index in indexes)
        files = [name for name in names if name.endswith(suffix) and not _beside_the_model(name)]
        for group in _groups(files):
            if not (indexed and _SHARD.fullmatch(group[0])):
                yield group, sorted(_siblings(group) - set(group))


def _beside_the_model(name: str) -> bool:
    """Training leftovers and adapters, which have a weight file's suffix and are none of the model's."""
    return name.startswith(("training_args", "optimizer", "scheduler", "rng_state", "adapter_model"))


def _groups(files: list[str]) -> list[list[str]]:
    """Files that belong together: the shards of one checkpoint; every unsharded file together."""
    together: dict[str, list[str]] = {}
    for name in files:
        shard = _SHARD.fullmatch(name)
        together.setdefault(shard["stem"] if shard else "", []).append(name)
    return list(together.values())


def _siblings(group: list[str]) -> set[str]:
    shard = _SHARD.fullmatch(group[0])
    if shard is None:
        return set()
    width, total = len(shard["number"]), shard["total"]
    return {f"{shard['stem']}-{i:0{width}d}-of-{total}{shard['suffix']}" for i in range(1, int(total) + 1)}


def _cut(path: Path) -> str | None:
    """Why this weight file is not whole, if it can be told from its size and its header."""
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
        return f"{path.name} has no whole safetensors header"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"{path.name} has {size} bytes, its header says {expected}"


def _whole_json(path: Path) -> bool:
    """Whether a JSON file is absent or whole: a small one is read, of a large one only both ends."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= _SOON_READ:
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
