"""The manifest of an image with baked models: the path of each repository and its commit.

One JSON file beside the models. At run time its entries take precedence over every other location, and the hub is
never contacted for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker_vllm.models.references import Role

FORMAT = 1


class ManifestError(Exception):
    """The manifest exists but cannot be used; the message has the file and the fault."""


@dataclass(frozen=True, slots=True)
class BakedModel:
    """One repository in the image."""

    role: Role
    repo_id: str
    commit: str
    path: str  # absolute, or relative to the manifest's directory
    files: Mapping[str, int]  # name within the path → size in bytes
    revision: str | None = None  # as requested: branch, tag or commit


@dataclass(frozen=True, slots=True)
class Manifest:
    """All baked repositories; `directory` is the base of relative paths."""

    models: tuple[BakedModel, ...]
    directory: Path

    @property
    def model(self) -> BakedModel | None:
        """The main model."""
        return next((baked for baked in self.models if baked.role is Role.MODEL), None)

    def get(self, role: Role, repo_id: str) -> BakedModel | None:
        """The baked repository of this role and id, in any letter case; a model also serves as its own tokenizer."""
        roles = (role, Role.MODEL) if role is Role.TOKENIZER else (role,)
        for wanted in roles:
            for baked in self.models:
                if baked.role is wanted and baked.repo_id.lower() == repo_id.lower():
                    return baked
        return None

    def locate(self, baked: BakedModel) -> Path:
        """The directory of the files."""
        return self.directory / baked.path

    def gaps(self, baked: BakedModel) -> tuple[str, ...]:
        """One clause for each file that is missing or whose size differs from the baked one."""
        found = []
        for name, size in baked.files.items():
            path = self.locate(baked) / name
            actual = path.stat().st_size if path.is_file() else None
            if actual != size:
                found.append(
                    f"{name} is missing" if actual is None else f"{name} has {actual} bytes instead of {size}"
                )
        return tuple(found)


def read(path: Path) -> Manifest | None:
    """The manifest at this path; None when the file does not exist. Raises ManifestError for an invalid file."""
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ManifestError(f"{path} has format {document['format']!r}; this worker reads {FORMAT}: bake again")
        models = tuple(_baked(entry) for entry in document["models"])
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is not a manifest ({error!r}): bake the model again") from error
    return Manifest(models, path.parent)


def write(path: Path, models: tuple[BakedModel, ...]) -> None:
    """Write the manifest atomically: a reader sees the old file or the new one."""
    document = {"format": FORMAT, "models": [asdict(baked) for baked in models]}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(path)


def _baked(entry: Mapping[str, Any]) -> BakedModel:
    return BakedModel(
        role=Role(entry["role"]),
        repo_id=str(entry["repo_id"]),
        commit=str(entry["commit"]),
        path=str(entry["path"]),
        files={str(name): int(size) for name, size in entry["files"].items()},
        revision=entry.get("revision"),
    )
