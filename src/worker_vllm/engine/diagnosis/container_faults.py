"""How the engine ends by its container's limits, and what the container must be started with.

Wordings are vLLM 0.32.0's, PyTorch's, NCCL's and Python's; recordings are under tests/engine/recordings.
"""

from __future__ import annotations

from worker_vllm.engine.diagnosis.types import FaultPattern, settings

# vLLM warns at every start, in the same words, of what a low limit might lead to.
QUOTED = r"(?<!`OSError: \[Errno 24\] )"

ROWS: tuple[FaultPattern, ...] = (
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
        "the engine may not open as many files as it needs (ulimit -n)",
        "start the container with --ulimit nofile=65535:65535",
    ),
    settings(
        "address space limited",
        r"(?s)the address space is limited to (?P<limit>\d+) MiB.*(?:MemoryError|[Cc]an(?:no|')t allocate memory"
        r"|failed to map segment|bad_alloc|can't start new thread)",
        "the engine may not map more than {limit} MiB, which is too little for this model (ulimit -v)",
        "start the container without that limit",
    ),
)
