"""Single key presses of a terminal; its settings are restored by `close`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable
from typing import Any

MOST_BYTES = 64  # one read; more is a paste


class Keyboard:
    """Calls `pressed` with each key, without waiting for Enter; Ctrl-C stays a signal."""

    def __init__(self, pressed: Callable[[str], None]) -> None:
        self._pressed = pressed
        self._fd = -1
        self._saved: list[Any] | None = None

    def open(self) -> bool:
        """Begin to read; False where standard input is no terminal, or belongs to another process group."""
        try:
            self._fd = sys.stdin.fileno()
            if not os.isatty(self._fd) or os.tcgetpgrp(self._fd) != os.getpgrp():
                return False
            self._saved = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        except (OSError, ValueError, termios.error):
            return False
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return True

    def close(self) -> None:
        """Stop reading and restore the terminal; harmless when called twice."""
        if self._saved is None:
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
        self._saved = None

    def _read(self) -> None:
        try:
            text = os.read(self._fd, MOST_BYTES).decode(errors="ignore")
        except OSError:
            text = ""
        if not text:  # the terminal is gone
            self.close()
            return
        if not text.startswith("\x1b"):
            for key in text:
                self._pressed(key)
