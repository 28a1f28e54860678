"""vLLM's notes on model classes, written ahead: a start that finds none imports everything once more to make one.

Before it loads a model, vLLM asks a fresh process what the model's class can do, and keeps the answer as a small file
in its cache with a hash of the class's source (0.32.0, model_executor/models/registry.py). A new container has none,
so that its first start would pay for that process: 13 s on two cores. `python -m worker_vllm.engine.preflight.model_info_cache` writes the
notes of all classes while an image is built, in about the time that one takes.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = "modelinfos"
REGISTRY = "vllm.model_executor.models.registry"


def own_cache(environment: Mapping[str, str]) -> Path:
    """Where vLLM keeps things by itself, and where an image's notes are."""
    return Path(environment.get("HOME") or "/root") / ".cache/vllm"


def bring(source: Path, cache: Path, architectures: Iterable[object]) -> None:
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


def inspect_here(registry: Any) -> None:
    """Have vLLM inspect classes in this process; it takes another lest a server initialise CUDA before it forks."""
    registry._run_in_subprocess = lambda inspect: inspect()


def write_all(registry: Any) -> tuple[int, int]:
    """Have vLLM note every class that can be imported here, in this process; how many were noted, of how many."""
    inspect_here(registry)
    classes = registry.ModelRegistry.models.values()
    noted = 0
    for each in classes:
        with suppress(Exception):  # a class that lacks a package here is inspected when somebody asks for it
            each.inspect_model_cls()
            noted += 1
    return noted, len(classes)


def main() -> int:
    """Write the notes and say how many; an image without them is only slower, so this never fails its build."""
    from worker_vllm.engine.child.vllm_cpu_alias import (
        answer_for_vllm,  # a light start imports this module, not that one
    )

    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    answer_for_vllm()
    try:
        noted, known = write_all(importlib.import_module(REGISTRY))
    except Exception as error:  # whatever a vLLM of another version, or without a GPU's driver, has to say
        sys.stderr.write(f"no notes on model classes: {type(error).__name__}: {error}\n")
        return 0
    sys.stdout.write(f"notes on {noted} of {known} model classes, for a faster start\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
