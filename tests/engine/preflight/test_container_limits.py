"""Container limits: which are faults of the settings, which of the machine, and which are sufficient."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from worker_vllm.engine.preflight.container_limits import (
    ContainerLimits,
    DiskSpace,
    check_limits,
    finite_limit,
    has_workers,
    measure_limits,
    raise_open_files,
)

MIB = 1 << 20
GENEROUS = ContainerLimits("/tmp", DiskSpace(9000 * MIB, 900 * MIB), DiskSpace(1024 * MIB, 1000 * MIB), 65535, None)
MOUNT = "set TMPDIR to a writable directory, or mount one (docker run --tmpfs /tmp)"


@pytest.mark.parametrize(
    ("limits", "problems", "host_problems"),
    [
        (GENEROUS, [], []),
        (replace(GENEROUS, shared_memory=None, open_files=None), [], []),
        (
            replace(GENEROUS, shared_memory=DiskSpace(64 * MIB, 64 * MIB)),
            [
                '--shm-size="64 MiB": expected at least 241 MiB of /dev/shm, through which '
                "the engine's processes talk; "
                "start the container with --shm-size 1g (Docker's default is 64 MiB)"
            ],
            [],
        ),
        (
            replace(GENEROUS, shared_memory=DiskSpace(1024 * MIB, 100 * MIB)),
            [],
            ["/dev/shm is full: 100 of 1024 MiB are free; remove files there"],
        ),
        (
            replace(GENEROUS, temporary=None),
            [f'TMPDIR="/tmp": expected a writable directory; {MOUNT}'],
            [],
        ),
        (
            replace(GENEROUS, temporary=DiskSpace(16 * MIB, 16 * MIB)),
            [f'TMPDIR="/tmp of 16 MiB": expected at least 256 MiB for temporary files; {MOUNT}'],
            [],
        ),
        (
            replace(GENEROUS, temporary=DiskSpace(9000 * MIB, 7 * MIB)),
            [],
            ["the disk is full: 7 MiB are free at /tmp; remove files, or set TMPDIR to another disk"],
        ),
        (
            replace(GENEROUS, open_files=64),
            [
                'ulimit -n="64": expected at least 128 open files; '
                "start the container with --ulimit nofile=65535:65535"
            ],
            [],
        ),
        (
            replace(GENEROUS, address_space=1000 * MIB),
            [
                'ulimit -v="1000 MiB": expected at least 2048 MiB of address space for the engine\'s libraries; '
                "start the container without that limit"
            ],
            [],
        ),
    ],
    ids=[
        "enough",
        "unknown",
        "small shm",
        "full shm",
        "no directory",
        "small disk",
        "full disk",
        "files",
        "addresses",
    ],
)
def test_a_limit_is_a_problem_of_the_settings_or_of_the_machine(
    limits: ContainerLimits, problems: list[str], host_problems: list[str]
) -> None:
    """The container's options are the same on every machine; a full file system is not."""
    found = check_limits(limits, workers=True)
    assert ([str(problem) for problem in found.problems], list(found.host_problems)) == (problems, host_problems)


@pytest.mark.parametrize(
    ("environment", "arguments", "on_gpu", "workers"),
    [
        ({}, (), True, False),
        ({}, (), False, False),
        ({"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}, (), False, True),
        ({"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}, (), True, False),
        ({"OMP_NUM_THREADS": "4"}, (), False, True),
        ({}, ("--tensor-parallel-size", "2"), False, True),
        ({}, ("--tensor-parallel-size", "2"), True, True),
        ({}, ("-pp=2",), True, True),
        ({}, ("--distributed-executor-backend", "mp"), True, True),
        ({}, ("--distributed-executor-backend", "mp"), False, True),
    ],
)
def test_shared_memory_matters_where_the_engine_has_workers(
    environment: dict[str, str], arguments: tuple[str, ...], on_gpu: bool, workers: bool
) -> None:
    """Where vLLM's core runs the model itself, Docker's default is enough."""
    assert has_workers(environment, arguments, on_gpu=on_gpu) is workers
    small = replace(GENEROUS, shared_memory=DiskSpace(64 * MIB, 64 * MIB))
    assert bool(check_limits(small, workers=workers).problems) is workers


def test_this_machine_is_measured(tmp_path: Path) -> None:
    """TMPDIR is used as it is set; a missing directory has no space."""
    here = measure_limits({"TMPDIR": str(tmp_path)})
    assert here.temporary is not None
    assert here.open_files == finite_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert measure_limits({"TMPDIR": str(tmp_path / "gone")}).temporary is None
    assert finite_limit(resource.RLIM_INFINITY) is None


def test_the_limit_of_open_files_is_raised_to_the_hard_limit() -> None:
    """Shells and containers set 1024 where more is allowed, and every running job has a connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
