"""The models that an engine command names besides the main one: tokenizer, adapters, draft model.

They are read from the `vllm serve` arguments and, once located on disk, written back as paths: an offline engine
needs the path, because a repository id makes it contact the hub.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from worker_vllm.settings.arguments import EngineArguments


class Role(StrEnum):
    """What a repository is used for; it decides which of its files are needed."""

    MODEL = "model"
    TOKENIZER = "tokenizer"
    ADAPTER = "adapter"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Reference:
    """One repository or path that the engine's arguments name."""

    role: Role
    name: str  # repository id or path, as the settings spell it
    revision: str | None = None


def is_path(name: str) -> bool:
    """Whether a model's name is a path by its first characters."""
    return name.startswith(("/", "./", "../", "~"))


def references(arguments: Sequence[str]) -> tuple[Reference, ...]:
    """The repositories besides the model that the arguments name, in the order of the command line."""
    found: list[Reference] = []

    def collect(reference: Reference) -> str:
        found.append(reference)
        return reference.name

    _walk(arguments, collect)
    return tuple(dict.fromkeys(found))


def localize(arguments: Sequence[str], paths: Mapping[Reference, str]) -> tuple[str, ...]:
    """The same arguments with every reference in `paths` replaced by its path, and the replaced revisions dropped."""
    dropped = {reference.role for reference in paths}
    result = _walk(arguments, lambda reference: paths.get(reference, reference.name))
    if Role.MODEL in dropped:
        result = result.without("--revision", "--code-revision")
    if Role.TOKENIZER in dropped or (Role.MODEL in dropped and result.get("--tokenizer") is None):
        result = result.without("--tokenizer-revision")
    return result.argv


_Visit = Callable[[Reference], str]


def _walk(arguments: Sequence[str], visit: _Visit) -> EngineArguments:
    """The arguments with every reference replaced by the result of `visit`."""
    given = EngineArguments(arguments)
    revision = given.get("--tokenizer-revision")
    return given.replace_values(
        {
            "--tokenizer": lambda text: visit(Reference(Role.TOKENIZER, text, revision)),
            "--lora-modules": lambda text: _adapter(text, visit),
            "--speculative-config": lambda text: _draft(text, visit),
            "--spec-model": lambda text: visit(Reference(Role.DRAFT, text)),
        }
    )


def _adapter(text: str, visit: _Visit) -> str:
    """`name=path`, or one JSON object with `name` and `path`: the two forms that vLLM 0.32 accepts."""
    described = _object(text)
    if described is None:
        name, equals, target = text.partition("=")
        return f"{name}={visit(Reference(Role.ADAPTER, target))}" if equals else text
    if isinstance(path := described.get("path"), str):
        described["path"] = visit(Reference(Role.ADAPTER, path))
    return json.dumps(described)


def _draft(text: str, visit: _Visit) -> str:
    described = _object(text)
    model = (described or {}).get("model")
    if described is None or not isinstance(model, str) or model.strip("[]") == "ngram":
        return text
    revision = described.get("revision")
    path = visit(Reference(Role.DRAFT, model, revision if isinstance(revision, str) else None))
    if path != model:
        described.pop("revision", None)
    described["model"] = path
    return json.dumps(described)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
