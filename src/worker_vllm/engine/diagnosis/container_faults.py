"""Faults caused by the container's limits, with the option that the container must be started with.

Messages are those of vLLM 0.32.0, PyTorch, NCCL and Python; recordings are in tests/engine/diagnosis/recordings.
"""

from __future__ import annotations

from worker_vllm.engine.diagnosis.types import FaultPattern, settings

# vLLM's warning about a low limit, at every start, quotes the same message.
QUOTED = r"(?<!`OSError: \[Errno 24\] )"

PATTERNS: tuple[FaultPattern, ...] = (
    settings(
        "shared memory too small",
        r"Insufficient space in /dev/shm for [^:\n]*: (?P<needed>\d+) MiB required, (?P<free>\d+) MiB free",
        "/dev/shm has {free} MiB free, and the engine's processes need {needed} MiB there",
        "start the container with --shm-size 1g (Docker's default is 64 MiB)",
    ),
    settings(
        "shared memory too small",
        r"Error while creating shared memory segment|No space left on device: '/(?:dev/shm/|psm_|torch_)|Bus error",
        "there is too little shared memory (/dev/shm) for the engine's processes",
        "start the container with --shm-size 1g or more (Docker's default is 64 MiB)",
    ),
    settings(
        "too few open files",
        QUOTED + r"Too many open files",
        "the engine reached the limit of open files (ulimit -n)",
        "start the container with --ulimit nofile=65535:65535",
    ),
    settings(
        "address space limited",
        r"(?s)the address space is limited to (?P<limit>\d+) MiB.*(?:MemoryError|[Cc]an(?:no|')t allocate memory"
        r"|failed to map segment|bad_alloc|can't start new thread)",
        "the address space is limited to {limit} MiB (ulimit -v), too little for this model",
        "start the container without that limit",
    ),
)
