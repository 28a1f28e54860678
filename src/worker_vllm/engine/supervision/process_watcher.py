"""Notices the exit of any of the engine's processes at once, through pidfds; no polling.

vLLM's API server notices a dead engine core only by its own watchdog, seconds later, while its clients wait.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from worker_vllm.engine.process.guard import descendants

# Command lines of processes that run as long as the engine does; others end earlier (compilers, resource trackers).
LASTING = (
    b"VLLM::",
    b"worker_vllm.engine.child.launch",
    b"worker_vllm.echo",
    b"multiprocessing.spawn import spawn_main",
    b"multiprocessing.forkserver import main",
    b"ray::",
)


class ProcessWatcher:
    """Calls `on_exit` once, with the process's name and id, when the first lasting descendant of `root` exits."""

    def __init__(self, root: int, on_exit: Callable[[str], None]) -> None:
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._pidfds: dict[int, str] = {}
        for pid in descendants(root):
            self._add(pid)

    @property
    def processes(self) -> list[str]:
        """Names of the watched processes."""
        return list(self._pidfds.values())

    def close(self) -> None:
        """Stop watching; may be called twice."""
        for pidfd in self._pidfds:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
        self._pidfds.clear()

    def _add(self, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return  # it exited after it was listed; no short-lived process of vLLM has a lasting name
        command = command_line(pid)
        if not any(mark in command for mark in LASTING):
            os.close(pidfd)
            return
        self._pidfds[pidfd] = f"{title(command)} (process {pid})"
        self._loop.add_reader(pidfd, self._exited, pidfd)

    def _exited(self, pidfd: int) -> None:
        name = self._pidfds[pidfd]
        self.close()
        self._on_exit(name)


def command_line(pid: int) -> bytes:
    """A process's command line, arguments separated by NUL; empty when the process has exited."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def title(command: bytes) -> str:
    """The process's name for messages: vLLM's own process title where it set one."""
    first = command.split(b"\0")[0].decode(errors="replace")
    return first.removeprefix("VLLM::") if first.startswith("VLLM::") else "an engine process"
