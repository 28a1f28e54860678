"""The worker as process 1: no signal of its first moments is lost, orphans are reaped, and the end is passed on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.container import CONTAINER
from tests.images.dockerfile import Dockerfile
from tests.support.paths import ROOT
from tests.support.processes import Process
from worker_vllm.local.launch_config import LocalConfig, worker_environment

BIN = Path(sys.executable).parent
NO_PLATFORM = "http://127.0.0.1:9"  # no platform listens there: no job is ever taken
SETTINGS = {**worker_environment(LocalConfig(engine="echo"), {}, NO_PLATFORM, "worker-1"), "MODEL_NAME": "echo"}
FOUND_S = 10.0

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a process namespace stands in for a container"),
    pytest.mark.timeout(60),
]


def entry_point(name: str) -> list[str]:
    """The image's entry point."""
    steps = {step.instruction: step for step in Dockerfile.read(ROOT / name).stages[-1].steps}
    return steps["ENTRYPOINT"].words + (steps["CMD"].words if "CMD" in steps else [])


def container(*command: str) -> Process:
    """A command as the first process of a container, with the echo engine."""
    return Process([*CONTAINER, *command], {**SETTINGS, "PATH": f"{BIN}:{os.environ['PATH']}"})


def first_of(process: Process) -> int:
    """The container's first process, by its id on this machine, once `unshare` has executed the command."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(
        until(lambda: [pid for pid in children.read_text().split() if command_of(int(pid))[:1] != ["unshare"]])[0]
    )


def until(look: Callable[[], list[str]]) -> list[str]:
    """The first true result of `look`."""
    deadline = time.monotonic() + FOUND_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        os.sched_yield()
    raise AssertionError("it never came")


def command_of(pid: int) -> list[str]:
    try:
        return [word for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0") if word]
    except OSError:
        return []


def keeps(pid: int, number: int) -> bool:
    """Whether a signal sent to the process now is not lost: it is blocked, so that it waits, or caught."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = {line.split()[0]: int(line.split()[1], 16) for line in status if line.startswith(("SigBlk", "SigCgt"))}
    return any(mask >> (number - 1) & 1 for mask in masks.values())


@pytest.mark.parametrize("name", ["Dockerfile", "docker/cpu.Dockerfile"])
def test_a_stop_in_the_first_milliseconds_is_obeyed(name: str) -> None:
    """From 50 ms after the image's command began, at the latest: a busy machine has not even started Python then."""
    process = container(*entry_point(name))
    try:
        first = first_of(process)
        began = time.monotonic()
        until(lambda: ["now"] if keeps(first, signal.SIGTERM) or time.monotonic() - began > 0.05 else [])
        os.kill(first, signal.SIGTERM)
        assert process.exit_code(10) == 0, process.output()
    finally:
        process.signal(signal.SIGKILL)
        process.stop()


def below(parent: int) -> list[str]:
    """The names of a process's children; a dead one keeps its name until it is reaped."""
    names = []
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(OSError):  # reaped since it was listed
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return names


def test_orphans_are_reaped() -> None:
    """An orphan becomes the first process's child: here one that `docker exec` left behind."""
    process = container("worker-vllm", "start")
    try:
        first = first_of(process)
        process.line("spawned")
        enter = ["nsenter", "--target", str(first), "--pid", "sh", "-c", "sleep 1 >/dev/null 2>&1 &"]
        subprocess.run(enter, check=True, timeout=10)
        until(lambda: ["started"] if "sleep" in below(first) else [])
        until(lambda: ["reaped"] if "sleep" not in below(first) else [])
    finally:
        process.signal(signal.SIGKILL)
        process.stop()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("worker-vllm", "start"), 128 + signal.SIGKILL),
        (("worker-vllm", "--version"), 0),
        (("worker-vllm", "no-such-verb"), 2),
    ],
    ids=["killed", "done", "misused"],
)
def test_the_end_is_passed_on(command: tuple[str, ...], status: int) -> None:
    """With the status that a shell would report."""
    process = container(*command)
    try:
        if status > 128:
            process.line("spawned")
            (worker,) = Path(f"/proc/{first_of(process)}/task/{first_of(process)}/children").read_text().split()
            os.kill(int(worker), signal.SIGKILL)
        assert process.exit_code(10) == status, process.output()
    finally:
        process.signal(signal.SIGKILL)
        process.stop()
