"""An engine child that starts before its model is on disk: it imports vLLM first and reads its arguments from a pipe.

While a model is downloaded only its paths are unknown. Environment, socket and flags are those of the later start, so
whatever vLLM reads at import time is correct. The worker holds the pipe's other end; the pipe closes when it exits.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import suppress

ARGUMENTS_FLAG = "--arguments-on"
IMPORTED = "the engine's modules are imported"
# What vLLM's command line imports before it reads an argument (0.32.0, entrypoints/cli/main.py); none touches a GPU.
MODULES = ("vllm.entrypoints.cli.main", "vllm.entrypoints.cli.serve")


def import_vllm() -> None:
    """Import what every `vllm serve` imports first."""
    with suppress(ImportError):  # the later start reports a missing module, in vLLM's words
        for name in MODULES:
            importlib.import_module(name)
        log_imported()


def log_imported() -> None:
    """Write IMPORTED to the engine's log."""
    os.write(1, f"{IMPORTED}\n".encode())


def take_descriptor(argv: list[str]) -> int | None:
    """The pipe's descriptor, removed from the command line; None where the command line names none."""
    if argv[1:2] != [ARGUMENTS_FLAG]:
        return None
    descriptor = int(argv[2])
    del argv[1:3]
    return descriptor


def read_arguments(descriptor: int) -> list[str]:
    """The arguments that follow `vllm`, once the worker has sent them; exits when the worker has exited."""
    with open(descriptor, "rb") as pipe:
        message = pipe.read()
    if not message:
        sys.exit("the worker ended before it sent the engine's arguments")
    arguments: list[str] = json.loads(message)
    return arguments
