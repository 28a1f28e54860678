"""What a container allows: which limits are the settings' fault, which the machine's, and what is enough."""

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
    ids=["enough", "untold", "small shm", "full shm", "no place", "small place", "full place", "files", "addresses"],
)
def test_a_limit_is_told_by_whose_fault_it_is(
    limits: ContainerLimits, problems: list[str], host_problems: list[str]
) -> None:
    """What the container was started with holds on every machine; what somebody has filled up does not."""
    found = check_limits(limits, workers=True)
    assert ([str(problem) for problem in found.problems], list(found.host_problems)) == (problems, host_problems)


@pytest.mark.parametrize(
    ("arguments", "on_gpu", "workers"),
    [
        ((), True, False),
        ((), False, True),
        (("--tensor-parallel-size", "2"), True, True),
        (("-pp=2",), True, True),
        (("--distributed-executor-backend", "mp"), True, True),
    ],
)
def test_shared_memory_matters_where_the_engine_has_workers(
    arguments: tuple[str, ...], on_gpu: bool, workers: bool
) -> None:
    """On one GPU vLLM's core runs the model itself, so that Docker's default is no obstacle there."""
    assert has_workers(arguments, on_gpu) is workers
    small = replace(GENEROUS, shared_memory=DiskSpace(64 * MIB, 64 * MIB))
    assert bool(check_limits(small, workers=workers).problems) is workers


def test_this_machine_is_measured(tmp_path: Path) -> None:
    """TMPDIR as it is named; a directory that is not there is no place."""
    here = measure_limits({"TMPDIR": str(tmp_path)})
    assert here.temporary is not None
    assert here.open_files == finite_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert measure_limits({"TMPDIR": str(tmp_path / "gone")}).temporary is None
    assert finite_limit(resource.RLIM_INFINITY) is None


def test_a_worker_takes_as_many_open_files_as_it_may() -> None:
    """Shells and containers give 1024 where more is allowed, and every running job holds a connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
