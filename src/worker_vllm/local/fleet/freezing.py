"""SIGSTOP and SIGCONT for a worker and everything below it, as FlashBoot freezes and thaws a container."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable

from worker_vllm.engine.process.guard import descendants

# Waits for the end of its standard input, which is the end of the process that froze the others: a stopped process
# would otherwise never notice that it should end.
THAW_AT_END = """
import contextlib, os, signal, sys
sys.stdin.read()
for pid in reversed(sys.argv[1:]):
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGCONT)
"""


class Frozen:
    """A stopped process tree; `thaw` continues it, and so does the end of this process."""

    def __init__(self, pid: int) -> None:
        self._pids: list[int] = []
        while fresh := [one for one in (pid, *descendants(pid)) if one not in self._pids]:
            _signal(fresh, signal.SIGSTOP)
            self._pids += fresh
        self._thawing = subprocess.Popen(
            (sys.executable, "-I", "-S", "-c", THAW_AT_END, *map(str, self._pids)),
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The stopped processes, the worker first."""
        return tuple(self._pids)

    def thaw(self) -> None:
        """Continue every process; may be called more than once."""
        _signal(reversed(self._pids), signal.SIGCONT)
        self._thawing.kill()
        self._thawing.wait()
        if self._thawing.stdin is not None:
            self._thawing.stdin.close()


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
