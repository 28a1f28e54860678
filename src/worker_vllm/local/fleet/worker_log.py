"""The last lines of a worker's log, numbered, for a reader that asks for what is new."""

from __future__ import annotations

from collections import deque

from worker_vllm.gateway.fleet.fleet_control import LogRecord
from worker_vllm.local.start_progress import LogLine

KEPT_LINES = 1_000
LONGEST_MESSAGE = 4_000


class WorkerLog:
    """Keeps KEPT_LINES lines."""

    def __init__(self) -> None:
        self._lines: deque[LogRecord] = deque(maxlen=KEPT_LINES)
        self._count = 0

    def add(self, line: LogLine, at: float) -> None:
        """Append a line; a long message is cut."""
        self._count += 1
        self._lines.append(LogRecord(self._count, at, line.level, line.message[:LONGEST_MESSAGE], line.engine))

    def after(self, number: int) -> list[LogRecord]:
        """The kept lines with a higher number."""
        return [line for line in self._lines if line.number > number]
