"""Processes under test: started in a group of their own, their output kept, never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

STOP_GRACE_S = 20.0
START_TIMEOUT_S = 60.0
# What a process under test may see of this one's environment: no variable that the worker would read as a setting.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")


_libc = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In the child: the kernel sends it SIGTERM when the test run is killed (Linux)."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A running process; everything it prints, both streams together, is kept.

    With a `lifeline` its standard input stays open, and empty, as long as this process lives.

    Its methods block, so call those that wait through `asyncio.to_thread` when this process's own loop must run on.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, *, lifeline: bool = False
    ) -> None:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if lifeline else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})},
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # one system call, on a function looked up before
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id, which is its group's too."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.decode(errors="replace").rstrip())
                    self._news.notify_all()

    def output(self) -> str:
        """Everything printed so far."""
        with self._news:
            return "\n".join(self._lines)

    def line(self, part: str, timeout_s: float = START_TIMEOUT_S) -> str:
        """The first line that contains `part`, once it is printed; fails when the process ends without it."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                found = next((line for line in self._lines if part in line), None)
                if found is not None:
                    return found
                over = self._process.poll() is not None and not self._reader.is_alive()
                if over or time.monotonic() > deadline:
                    state = "ended" if over else f"is up for {timeout_s:.0f} s"
                    text = "\n".join(self._lines)
                    raise AssertionError(f"the process {state} without printing {part!r}:\n{text}")
                self._news.wait(0.5)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(number)

    def exit_code(self, timeout_s: float = STOP_GRACE_S) -> int:
        """The exit code, once it is over. Raises subprocess.TimeoutExpired when it does not end."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def stop(self) -> int:
        """SIGTERM, a grace time, then SIGKILL for the whole group; the exit code."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return self.exit_code()


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *, lifeline: bool = False
) -> Iterator[Process]:
    """A process for the length of the block, with `environment` and little else."""
    process = Process(command, environment, lifeline=lifeline)
    try:
        yield process
    finally:
        process.stop()
