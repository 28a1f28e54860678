"""Checks the container's limits: shared memory, space for temporary files, open files, address space.

`docker run` and an endpoint's template set the same limits on every machine, so a limit that is too small for any
engine is an error in the settings. A file system that other processes have filled is a problem of the machine.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker_vllm.engine.preflight.cpu_processes import core_runs_model
from worker_vllm.engine.preflight.memory_fit import SHARDING, number
from worker_vllm.errors import Problem
from worker_vllm.settings.arguments import EngineArguments

MIB = 1 << 20
SHARED_MEMORY = "/dev/shm"
# vLLM 0.32.0's largest queue between two of its processes (MessageQueue: 10 chunks of 24 MiB, and their flags).
LEAST_SHARED_BYTES = 241 * MIB
LEAST_FREE_BYTES = 256 * MIB  # for the logs, sockets and caches of one start
LEAST_FILES = 128  # no engine starts with 64, one does with 128
LEAST_ADDRESS_SPACE = 2 << 30  # bytes; the engine's modules alone map 1.6 GiB


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """A file system's size and free space in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """The measured limits; None stands for a directory that cannot be used, or for no limit."""

    directory: str  # for temporary files
    temporary: DiskSpace | None
    shared_memory: DiskSpace | None
    open_files: int | None
    address_space: int | None


@dataclass(frozen=True, slots=True)
class LimitProblems:
    """Reasons against a start: those of the settings, which hold on every machine, and those of this machine."""

    problems: tuple[Problem, ...] = ()
    host_problems: tuple[str, ...] = ()


def measure_limits(environment: Mapping[str, str]) -> ContainerLimits:
    """Measure the limits of this container."""
    directory = environment.get("TMPDIR") or default_directory()
    files, addresses = (resource.getrlimit(each)[1] for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS))
    return ContainerLimits(
        directory=directory,
        temporary=disk_space(directory) if os.access(directory, os.W_OK | os.X_OK) else None,
        shared_memory=disk_space(SHARED_MEMORY),
        open_files=finite_limit(files),
        address_space=finite_limit(addresses),
    )


def default_directory() -> str:
    """Python's directory for temporary files; /tmp where none is writable."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return "/tmp"


def disk_space(path: str) -> DiskSpace | None:
    """The size and free space of the file system at a path; None for a path that does not exist."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return DiskSpace(usage.total, usage.free)


def finite_limit(limit: int) -> int | None:
    """A resource limit; None for an infinite one."""
    return None if limit == resource.RLIM_INFINITY else limit


def address_space_message(soft: int) -> str:
    """The log line about a limited address space, which the diagnosis reads later; empty without a limit."""
    return "" if finite_limit(soft) is None else f"the address space is limited to {soft // MIB} MiB (ulimit -v)\n"


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard limit: every job's connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def has_workers(environment: Mapping[str, str], arguments: Sequence[str], *, on_gpu: bool) -> bool:
    """Whether the engine core has worker processes, which communicate with it through shared memory."""
    if not on_gpu:
        return not core_runs_model(environment, arguments)
    given = EngineArguments(arguments)
    parts = [number(given.get(flag), 1) for flag in SHARDING]
    return max(parts) > 1 or given.get("--distributed-executor-backend") == "mp"


def check_limits(limits: ContainerLimits, *, workers: bool) -> LimitProblems:
    """The reasons against a start under these limits; `workers` as `has_workers` returns it."""
    shared = check_shared_memory(limits.shared_memory) if workers and limits.shared_memory else LimitProblems()
    temporary = check_temporary_files(limits.directory, limits.temporary)
    problems = [*temporary.problems, *shared.problems]
    if limits.open_files is not None and limits.open_files < LEAST_FILES:
        change = "start the container with --ulimit nofile=65535:65535"
        problems.append(Problem("ulimit -n", str(limits.open_files), f"at least {LEAST_FILES} open files", change))
    if limits.address_space is not None and limits.address_space < LEAST_ADDRESS_SPACE:
        got, least = (f"{count >> 20} MiB" for count in (limits.address_space, LEAST_ADDRESS_SPACE))
        expected = f"at least {least} of address space for the engine's libraries"
        problems.append(Problem("ulimit -v", got, expected, "start the container without that limit"))
    return LimitProblems(tuple(problems), (*temporary.host_problems, *shared.host_problems))


def check_shared_memory(space: DiskSpace) -> LimitProblems:
    """Whether the engine's processes have enough shared memory to communicate."""
    if space.total < LEAST_SHARED_BYTES:
        expected = (
            f"at least {LEAST_SHARED_BYTES // MIB} MiB of {SHARED_MEMORY}, through which the engine's processes talk"
        )
        change = "start the container with --shm-size 1g (Docker's default is 64 MiB)"
        return LimitProblems((Problem("--shm-size", f"{space.total // MIB} MiB", expected, change),))
    if space.free < LEAST_SHARED_BYTES:
        free = f"{space.free // MIB} of {space.total // MIB} MiB are free"
        return LimitProblems((), (f"{SHARED_MEMORY} is full: {free}; remove files there",))
    return LimitProblems()


def check_temporary_files(directory: str, space: DiskSpace | None) -> LimitProblems:
    """Whether there is a writable directory with room for the engine's socket and temporary files."""
    change = "set TMPDIR to a writable directory, or mount one (docker run --tmpfs /tmp)"
    if space is None:
        return LimitProblems((Problem("TMPDIR", directory, "a writable directory", change),))
    least = f"at least {LEAST_FREE_BYTES // MIB} MiB for temporary files"
    if space.total < LEAST_FREE_BYTES:
        return LimitProblems((Problem("TMPDIR", f"{directory} of {space.total // MIB} MiB", least, change),))
    if space.free < LEAST_FREE_BYTES:
        free = f"{space.free // MIB} MiB are free at {directory}"
        return LimitProblems((), (f"the disk is full: {free}; remove files, or set TMPDIR to another disk",))
    return LimitProblems()
