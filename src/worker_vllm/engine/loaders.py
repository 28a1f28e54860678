"""What `LOAD_FORMAT=auto` means here, as one line for the log: the loader that runs and the faster ones at hand.

None is chosen for the user: which one wins depends on the volume, and each has models that it cannot load.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

from worker_vllm.engine.command import chosen

FLAG = ("--load-format",)
# vLLM 0.32's values for the flag and the package that each one needs, fastest first as their authors measured
FAST = (
    ("instanttensor", "instanttensor"),
    ("fastsafetensors", "fastsafetensors"),
    ("runai_streamer", "runai_model_streamer"),
)


def is_installed(package: str) -> bool:
    """Whether a top-level package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def loader_note(arguments: Sequence[str], installed: Callable[[str], bool] = is_installed) -> tuple[str, ...]:
    """One line where the choice is vLLM's, none where the user made it."""
    if chosen(arguments, FLAG):
        return ()
    at_hand = [name for name, package in FAST if installed(package)]
    faster = f"LOAD_FORMAT={' or '.join(at_hand)} may be faster" if at_hand else "no faster loader is installed"
    return (f"LOAD_FORMAT=auto: vLLM reads the weights itself, ahead of need on a network volume; {faster}",)
