"""What the container allows: room for shared memory and temporary files, open files, address space.

What `docker run` or an endpoint's template sets is the same on every machine, so a limit that no engine can start
under is a mistake in the settings; only a place that somebody else has filled is the machine's fault.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker_vllm.engine.preflight.memory_fit import SHARDING, number
from worker_vllm.errors import Problem
from worker_vllm.settings.arguments import EngineArguments

MIB = 1 << 20
SHARED_MEMORY = "/dev/shm"
# vLLM 0.32.0's largest queue between two of its processes (MessageQueue: 10 chunks of 24 MiB, and their flags).
LEAST_SHARED_BYTES = 241 * MIB
LEAST_FREE_BYTES = 256 * MIB  # logs, sockets and caches of one start
LEAST_FILES = 128  # with 64 no engine starts, with 128 one does
LEAST_ADDRESSES = 2 << 30  # the engine's modules alone take 1.6 GiB


@dataclass(frozen=True, slots=True)
class Room:
    """A file system's size and what is free of it, in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What was measured; None where there is no such place or no limit."""

    place: str  # for temporary files; what is wrong with it otherwise
    temporary: Room | None
    shared_memory: Room | None
    open_files: int | None
    address_space: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """What speaks against a start: what every machine would meet, and what only this one."""

    problems: tuple[Problem, ...] = ()
    host_problems: tuple[str, ...] = ()


def measure(environment: Mapping[str, str]) -> Limits:
    """Look at this container."""
    place = environment.get("TMPDIR") or default_place()
    files, addresses = (resource.getrlimit(each)[1] for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS))
    return Limits(
        place=place,
        temporary=room(place) if os.access(place, os.W_OK | os.X_OK) else None,
        shared_memory=room(SHARED_MEMORY),
        open_files=limited(files),
        address_space=limited(addresses),
    )


def default_place() -> str:
    """Where temporary files go when nobody says; /tmp where nothing can be written to."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return "/tmp"


def room(path: str) -> Room | None:
    """The file system's size and free bytes; None where there is none."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return Room(usage.total, usage.free)


def limited(number: int) -> int | None:
    """A resource limit; None for none."""
    return None if number == resource.RLIM_INFINITY else number


def address_space_words(soft: int) -> str:
    """What the engine's log says of a limit on its address space, for whoever reads its end; empty without one."""
    return "" if limited(soft) is None else f"the address space is limited to {soft // MIB} MiB (ulimit -v)\n"


def raise_open_files() -> None:
    """Take as many open files as this process may: a connection of every job is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def has_workers(arguments: Sequence[str], on_gpu: bool) -> bool:
    """Whether the engine's core has worker processes, which it talks to through shared memory."""
    given = EngineArguments(arguments)
    parts = [number(given.get(flag), 1) for flag in SHARDING]
    return not on_gpu or max(parts) > 1 or given.get("--distributed-executor-backend") == "mp"


def judge(limits: Limits, *, workers: bool) -> Found:
    """What these limits mean for an engine."""
    shared = shared_memory(limits.shared_memory) if workers and limits.shared_memory else Found()
    temporary = temporary_files(limits.place, limits.temporary)
    problems = [*temporary.problems, *shared.problems]
    if limits.open_files is not None and limits.open_files < LEAST_FILES:
        change = "start the container with --ulimit nofile=65535:65535"
        problems.append(Problem("ulimit -n", str(limits.open_files), f"at least {LEAST_FILES} open files", change))
    if limits.address_space is not None and limits.address_space < LEAST_ADDRESSES:
        got, least = (f"{count >> 20} MiB" for count in (limits.address_space, LEAST_ADDRESSES))
        expected = f"at least {least} of address space for the engine's libraries"
        problems.append(Problem("ulimit -v", got, expected, "start the container without that limit"))
    return Found(tuple(problems), (*temporary.host_problems, *shared.host_problems))


def shared_memory(found: Room) -> Found:
    """Whether the engine's processes can talk to each other."""
    if found.total < LEAST_SHARED_BYTES:
        expected = (
            f"at least {LEAST_SHARED_BYTES // MIB} MiB of {SHARED_MEMORY}: the engine's processes talk through it"
        )
        change = "start the container with --shm-size 1g (Docker's default is 64 MiB)"
        return Found((Problem("--shm-size", f"{found.total // MIB} MiB", expected, change),))
    if found.free < LEAST_SHARED_BYTES:
        return Found((), (f"{SHARED_MEMORY} is full: {found.free // MIB} of {found.total // MIB} MiB are free",))
    return Found()


def temporary_files(place: str, found: Room | None) -> Found:
    """Whether the engine's socket and its temporary files have a place."""
    change = "set TMPDIR to a directory that may be written to, or mount one (docker run --tmpfs /tmp)"
    if found is None:
        return Found((Problem("TMPDIR", place, "a directory that may be written to", change),))
    least = f"at least {LEAST_FREE_BYTES // MIB} MiB for temporary files"
    if found.total < LEAST_FREE_BYTES:
        return Found((Problem("TMPDIR", f"{place} of {found.total // MIB} MiB", least, change),))
    if found.free < LEAST_FREE_BYTES:
        return Found((), (f"the disk is full: {found.free // MIB} MiB are free at {place}",))
    return Found()
