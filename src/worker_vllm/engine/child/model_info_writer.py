"""Writes vLLM's model info files of all model classes: `python -m worker_vllm.engine.child.model_info_writer`.

Called while an image is built; takes about as long as one class takes at a start. `engine.preflight.model_info_cache`
describes the files.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias

REGISTRY = "vllm.model_executor.models.registry"


def inspect_here(registry: Any) -> None:
    """Make vLLM inspect classes in this process; by default it uses another, so that no server initialises CUDA."""
    registry._run_in_subprocess = lambda inspect: inspect()


def write_all(registry: Any) -> tuple[int, int]:
    """Write the model info of every class that can be imported here; returns the counts written and known."""
    inspect_here(registry)
    classes = registry.ModelRegistry.models.values()
    written = 0
    for each in classes:
        with suppress(Exception):  # a class that needs a missing package is inspected when a start serves it
            each.inspect_model_cls()
            written += 1
    return written, len(classes)


def main() -> int:
    """Write the files and print how many; always returns 0, as an image without them only starts slower."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    install_vllm_alias()
    try:
        written, known = write_all(importlib.import_module(REGISTRY))
    except Exception as error:  # any error of another vLLM version, or of vLLM without a GPU's driver
        sys.stderr.write(f"no model info was written: {type(error).__name__}: {error}\n")
        return 0
    sys.stdout.write(f"model info of {written} of {known} model classes, for a faster start\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
