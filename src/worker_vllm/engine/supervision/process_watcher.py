"""Sees the death of any of the engine's processes at once, through pidfds; no polling.

vLLM's API server notices a dead engine core only by its own watchdog, seconds later, and its clients wait meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from worker_vllm.engine.process.guard import descendants

# Command lines of processes that live as long as the engine does. Others come and go (compilers, resource trackers).
LASTING = (
    b"VLLM::",
    b"worker_vllm.engine.child.launch",
    b"worker_vllm.echo",
    b"multiprocessing.spawn import spawn_main",
    b"multiprocessing.forkserver import main",
    b"ray::",
)


class ProcessWatcher:
    """Calls `on_death` with the process's name and id, once, when one of the lasting processes below `root` ends."""

    def __init__(self, root: int, on_death: Callable[[str], None]) -> None:
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._pidfds: dict[int, str] = {}
        for pid in descendants(root):
            self._add(pid)

    @property
    def processes(self) -> list[str]:
        """Names of the processes watched."""
        return list(self._pidfds.values())

    def close(self) -> None:
        """Watch no longer."""
        for pidfd in self._pidfds:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
        self._pidfds.clear()

    def _add(self, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return  # it ended between the listing and here; vLLM starts nothing short-lived under a lasting name
        command = command_line(pid)
        if not any(mark in command for mark in LASTING):
            os.close(pidfd)
            return
        self._pidfds[pidfd] = f"{title(command)} (process {pid})"
        self._loop.add_reader(pidfd, self._died, pidfd)

    def _died(self, pidfd: int) -> None:
        name = self._pidfds[pidfd]
        self.close()
        self._on_death(name)


def command_line(pid: int) -> bytes:
    """A process's command line, its arguments separated by NUL; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def title(command: bytes) -> str:
    """A name for people: vLLM's own title where it set one."""
    first = command.split(b"\0")[0].decode(errors="replace")
    return first.removeprefix("VLLM::") if first.startswith("VLLM::") else "an engine process"
