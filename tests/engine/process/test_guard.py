"""The guard removes everything of the engine, whatever happens to the worker or the engine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker_vllm.engine.process.child_process import GUARD

# Creates what real engines create: shared memory, a semaphore, a grandchild in another session, a file.
ENGINE = """
import multiprocessing, os, signal, subprocess, sys
from multiprocessing.shared_memory import SharedMemory
block = SharedMemory(create=True, size=64)
semaphore = multiprocessing.get_context("spawn").Lock()
grandchild = subprocess.Popen(["sleep", "60"], start_new_session=True)
open(sys.argv[1] + "/engine.sock", "w").close()
print(block.name, semaphore._semlock.name.lstrip("/"), grandchild.pid, os.getpid(), flush=True)
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))
while True: signal.pause()
"""


class Guarded:
    """A guarded engine that has printed what it created."""

    def __init__(self, directory: Path, *options: str, grace_s: str = "5") -> None:
        self.directory = directory
        directory.mkdir()
        engine = [sys.executable, "-c", ENGINE, str(directory), *options]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(directory), grace_s, *engine],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        block, semaphore, grandchild, pid = self.process.stdout.readline().decode().split()
        self.shared = [Path("/dev/shm") / block, Path("/dev/shm") / f"sem.{semaphore}"]
        self.pids = [int(grandchild), int(pid)]

    def end_of_lifeline(self) -> None:
        """Close the lifeline, as when the worker is killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def terminate(self) -> None:
        self.process.terminate()

    def engine_exits(self) -> None:
        self._take_inventory()
        os.kill(self.pids[1], signal.SIGUSR1)

    def engine_killed(self) -> None:
        self._take_inventory()
        os.kill(self.pids[1], signal.SIGKILL)

    def _take_inventory(self) -> None:
        """Request an inventory, as the worker does; the guard reads the second byte after the first inventory."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"ii")
        while array("i", fcntl.ioctl(self.process.stdin, termios.FIONREAD, array("i", [0]).tobytes()))[0]:
            os.sched_yield()

    def close(self) -> None:
        """Close the guard's pipes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(5)

    def leftovers(self) -> list[str]:
        """Everything of the engine that still exists."""
        alive = [f"process {pid}" for pid in self.pids if Path(f"/proc/{pid}").exists()]
        return alive + [str(path) for path in [*self.shared, self.directory] if path.exists()]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    started = []

    def start(*options: str, **settings: str) -> Guarded:
        started.append(Guarded(tmp_path / "engine", *options, **settings))
        return started[-1]

    yield start
    for engine in started:
        engine.close()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (Guarded.end_of_lifeline, -signal.SIGKILL),
        (Guarded.terminate, -signal.SIGTERM),
        (Guarded.engine_exits, 3),
        (Guarded.engine_killed, -signal.SIGKILL),
    ],
    ids=["worker killed", "asked to stop", "engine exits", "engine killed"],
)
def test_nothing_is_left_and_the_guard_exits_as_the_engine_did(
    guarded: Callable[..., Guarded], end: Callable[[Guarded], None], status: int
) -> None:
    """No process in any session, no shared memory, no semaphore, no directory."""
    engine = guarded()
    assert len(engine.leftovers()) == 5
    end(engine)
    assert engine.process.wait(5) == status
    assert engine.leftovers() == []


def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace(guarded: Callable[..., Guarded]) -> None:
    """Stopping takes at most the grace time."""
    engine = guarded("stubborn", grace_s="0.2")
    engine.terminate()
    assert engine.process.wait(5) == -signal.SIGKILL
    assert engine.leftovers() == []


def test_a_command_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    """Status 127, as in a shell, and the reason on the log."""
    command = [sys.executable, "-I", "-S", str(GUARD), str(tmp_path), "1", "/no/such/engine"]
    done = subprocess.run(command, check=False, input=b"", capture_output=True, timeout=5)
    assert done.stderr.decode().startswith("the engine's command could not be started: /no/such/engine: No such file")
