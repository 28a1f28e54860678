"""Copies vLLM's model info files into its cache: a start that finds none imports everything once more to make one.

Before it loads a model, vLLM asks a fresh process what the model's class can do, and keeps the answer as a small file
in its cache with a hash of the class's source (0.32.0, model_executor/models/registry.py). A new container has none,
so that its first start would pay for that process: 13 s on two cores. An image holds the files of all classes
(`engine.child.model_info_writer`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

FOLDER = "modelinfos"


def own_cache(environment: Mapping[str, str]) -> Path:
    """Where vLLM keeps things by itself, and where an image's notes are."""
    return Path(environment.get("HOME") or "/root") / ".cache/vllm"


def copy_notes(source: Path, cache: Path, architectures: Iterable[object]) -> None:
    """Copy the notes on these classes from one cache of vLLM to another; those that are there stay.

    A copy that cannot be made costs the start what it would have cost without.
    """
    for name in architectures:
        if not isinstance(name, str) or not name.isidentifier():
            continue
        for note in source.glob(f"{FOLDER}/*-{name}.json"):
            with suppress(OSError):
                copy(note, cache / FOLDER / note.name)


def copy(note: Path, target: Path) -> None:
    """Copy one file, whole or not at all; one that is there stays. Raises OSError."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(note, partial)
    partial.replace(target)
