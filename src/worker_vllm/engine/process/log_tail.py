"""The last lines of the engine's log, bounded in lines and bytes, assembled from pieces of any size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from worker_vllm.engine.child.report_line import MARK

LINES = 400
LINE_BYTES = 4096


class LogTail:
    """Keeps the last LINES lines and passes each complete line to `on_line`; reports go to `on_report` instead."""

    def __init__(self, on_line: Callable[[str], None] = lambda line: None) -> None:
        self.on_line = on_line
        self.on_report: Callable[[bytes], None] = lambda report: None
        self._lines: deque[str] = deque(maxlen=LINES)
        self._rest = b""

    @property
    def lines(self) -> list[str]:
        """The kept lines, oldest first."""
        return list(self._lines)

    def feed(self, data: bytes) -> None:
        """Add bytes as they were read; a line longer than LINE_BYTES is split."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        for line in complete:
            self._keep(line)
        while len(self._rest) > LINE_BYTES:
            self._keep(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]

    def close(self) -> None:
        """End the log: an unfinished last line counts as a line."""
        if self._rest:
            self._keep(self._rest)
            self._rest = b""

    def _keep(self, line: bytes) -> None:
        if MARK in line:
            line, _, report = line.partition(MARK)
            self.on_report(report)
            if not line:
                return
        for start in range(0, max(1, len(line)), LINE_BYTES):
            text = line[start : start + LINE_BYTES].decode(errors="replace").rstrip("\r")
            self._lines.append(text)
            self.on_line(text)
