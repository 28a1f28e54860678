"""The engine child that starts before its model is on disk: it imports meanwhile, and is told its arguments later.

While a model is downloaded only its paths are unknown. Environment, socket and flags are those of the later start, so
that whatever is read at import time is right. The pipe's other end is the worker's, and ends with it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import suppress

WAIT = "--arguments-on"
IMPORTED = "the engine's modules are imported"
# What vLLM's command line imports before it reads an argument (0.32.0, entrypoints/cli/main.py): it touches no GPU.
MODULES = ("vllm.entrypoints.cli.main", "vllm.entrypoints.cli.serve")


def load() -> None:
    """Import what every `vllm serve` imports first."""
    with suppress(ImportError):  # whatever is missing is told by the start itself, in vLLM's words
        for name in MODULES:
            importlib.import_module(name)
        say_imported()


def say_imported() -> None:
    """Say on the engine's log that its imports are done."""
    os.write(1, f"{IMPORTED}\n".encode())


def descriptor(argv: list[str]) -> int | None:
    """The pipe that the command line names, taken out of it; None where nothing is to be waited for."""
    if argv[1:2] != [WAIT]:
        return None
    number = int(argv[2])
    del argv[1:3]
    return number


def arguments(told_on: int) -> list[str]:
    """What follows `vllm`, once the worker has said it; ends this process when the worker is gone."""
    with open(told_on, "rb") as pipe:
        told = pipe.read()
    if not told:
        sys.exit("the worker ended before it said what to serve")
    found: list[str] = json.loads(told)
    return found
