"""Reports of the engine's processes to the worker: lines of JSON in the engine's log, each after a mark.

The log is a pipe that the worker reads anyway, so that a report needs no connection, is never lost while both live,
and is read before the end of the process that wrote it is noticed. A report is trusted by what it names: the random
tag of a request, which only that request's client can learn, or a token that no client knows. Standard library only.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable

MARK = b"\x1e"
LONGEST = 4000  # bytes: a pipe takes a write of this size whole, never mixed with another process's

Write = Callable[[int, bytes], int]
encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class ReportLines:
    """Writes reports in the order of their `add`; those of one turn of the event loop together.

    Each write costs its process a system call and the worker a wake-up. Outside an event loop, a report is written at
    once.
    """

    def __init__(self, descriptor: int, write: Write = os.write) -> None:
        self._descriptor = descriptor
        self._write = write
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, report: object) -> None:
        """Write a report, at the latest in the next turn of the loop. One longer than LONGEST is dropped."""
        line = MARK + encode(report).encode("ascii") + b"\n"
        if len(line) > LONGEST:
            return
        if self._size + len(line) > LONGEST:
            self.flush()
        first = not self._waiting
        self._waiting.append(line)
        self._size += len(line)
        if first and not call_soon(self.flush):
            self.flush()

    def flush(self) -> None:
        """Write what waits. Reports that nobody reads any more are dropped."""
        lines, self._waiting, self._size = self._waiting, [], 0
        if not lines:
            return
        try:
            self._write(self._descriptor, b"".join(lines))
        except OSError:
            return


def call_soon(function: Callable[[], None]) -> bool:
    """Have this thread's event loop call the function in its next turn; False where no loop runs.

    asyncio takes longer to import than the worker's light start, which imports this module, may take.
    """
    if "asyncio" not in sys.modules:
        return False
    import asyncio

    try:
        asyncio.get_running_loop().call_soon(function)
    except RuntimeError:
        return False
    return True


REPORTS = ReportLines(1)  # of this process; its log is the standard output
atexit.register(REPORTS.flush)


def write_report(report: object) -> None:
    """Write one report into this process's log."""
    REPORTS.add(report)
