"""Container limits and adapters, distinguished by small differences in the engine's messages."""

from __future__ import annotations

import pytest

from worker_vllm.engine.diagnosis.diagnose import EngineExit, diagnose
from worker_vllm.engine.diagnosis.types import Scope

ADAPTERS = (
    "INFO 11-25 09:18:34 [api_utils.py:286] non-default: {'lora_modules': [LoRAModulePath(name='good', path='/a'), "
    "LoRAModulePath(name='bad', path='/b'), LoRAModulePath(name='next', path='/c')]}"
)
LOADED = "INFO 11-25 09:18:37 [serving.py:227] Loaded new LoRA adapter: name 'good', path '/a'"
UNFIT = "ValueError: Call to add_lora method failed: expected target modules in [q] but received ['x']"
LIMIT = "the address space is limited to 1000 MiB (ulimit -v)"
WARNED = (
    "WARNING Found ulimit of 20000. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`."
)


@pytest.mark.parametrize(
    ("lines", "cause", "scope", "part"),
    [
        (
            (ADAPTERS, LOADED, UNFIT),
            "adapter of another base",
            Scope.SETTINGS,
            "the adapter bad was made for another",
        ),
        ((ADAPTERS, UNFIT), "adapter of another base", Scope.SETTINGS, "the adapter good was made for another"),
        (
            (
                "NCCL WARN Error while creating shared memory segment /dev/shm/nccl-Xa (size 9637888)",
                "NCCL error in: x",
            ),
            "shared memory too small",
            Scope.SETTINGS,
            "--shm-size 1g",
        ),
        (
            ("OSError: [Errno 28] No space left on device: '/psm_1'",),
            "shared memory too small",
            Scope.SETTINGS,
            "shm",
        ),
        (("OSError: [Errno 28] No space left on device: '/cache/x'",), "disk full", Scope.HOST, "the disk is full"),
        (("OSError: [Errno 24] Too many open files: '/x'",), "too few open files", Scope.SETTINGS, "--ulimit nofile"),
        ((WARNED, "FluxError: cold"), "unknown", Scope.PASSING, "FluxError: cold"),
        ((LIMIT, "MemoryError"), "address space limited", Scope.SETTINGS, "the address space is limited to 1000 MiB"),
        (
            (LIMIT, "ImportError: /x/libtorch.so: failed to map segment from shared object"),
            "address space limited",
            Scope.SETTINGS,
            "ulimit -v",
        ),
        (("MemoryError: no",), "unknown", Scope.PASSING, "MemoryError: no"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_cause_is_found(lines: tuple[str, ...], cause: str, scope: Scope, part: str) -> None:
    """The sentence contains the adapter's name, or the container's option."""
    diagnosis = diagnose(EngineExit(1, lines))
    assert (diagnosis.cause, diagnosis.scope, part in diagnosis.sentence) == (cause, scope, True)


def test_a_bus_error_hints_at_shared_memory() -> None:
    """The kernel sends it for a write to a full /dev/shm; the log contains no message."""
    assert "--shm-size 1g" in diagnose(EngineExit(-7, ())).sentence
