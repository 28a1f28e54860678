"""Writes vLLM's model info files of all classes: `python -m worker_vllm.engine.child.model_info_writer`.

It runs while an image is built and takes about as long as one class takes at a start. What the files are:
`engine.preflight.model_info_cache`.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

from worker_vllm.engine.child.vllm_cpu_alias import answer_for_vllm

REGISTRY = "vllm.model_executor.models.registry"


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
