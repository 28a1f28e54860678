"""The level of a line in the engine's log, as the engine wrote it."""

from __future__ import annotations

import logging
import re

# vLLM's own lines and uvicorn's, after the name of the process: `(EngineCore pid=7) WARNING 11-25 12:00:01 [...`.
LEVEL = re.compile(r"(?:\([^)]{1,80}\) )?(DEBUG|INFO|WARNING|ERROR|CRITICAL)(?::| )")
PROCESS = re.compile(r"\([^)]{1,80}\) ")
TRACEBACK = "Traceback (most recent call last):"


class LineLevel:
    """Reads line after line; a bare traceback, which has no level of its own, is an error up to its last line."""

    def __init__(self) -> None:
        self._in_traceback = False

    def of(self, line: str) -> int:
        """The level of the next line."""
        if found := LEVEL.match(line):
            self._in_traceback = False
            return logging.getLevelNamesMapping()[found[1]]
        text = PROCESS.sub("", line, count=1)
        if text.startswith(TRACEBACK):
            self._in_traceback = True
            return logging.ERROR
        if self._in_traceback:
            self._in_traceback = text.startswith((" ", "\t")) or not text
            return logging.ERROR
        return logging.INFO
