"""Copies vLLM's model info files from the image into the cache that a start uses.

Before it loads a model, vLLM inspects the model's class in a new process and caches the result as a small file with a
hash of the class's source (0.32.0, model_executor/models/registry.py). A new container has no such file, so that its
first start would spend 13 s on that process (two cores). An image contains the files of all classes
(`engine.child.model_info_writer`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

FOLDER = "modelinfos"


def default_cache(environment: Mapping[str, str]) -> Path:
    """vLLM's default cache directory, where an image has its model info files."""
    return Path(environment.get("HOME") or "/root") / ".cache/vllm"


def copy_model_info(source: Path, cache: Path, architectures: Iterable[object]) -> None:
    """Copy the model info files of these classes from one vLLM cache to another; existing files are kept.

    Ignores a file that cannot be copied: vLLM then inspects the class, which is slower.
    """
    for name in architectures:
        if not isinstance(name, str) or not name.isidentifier():
            continue
        for info in source.glob(f"{FOLDER}/*-{name}.json"):
            with suppress(OSError):
                copy_file(info, cache / FOLDER / info.name)


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, complete or not at all, unless the target exists. Raises OSError."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.replace(target)
